#include "bounds.h"

#include "blocks.h"

#include <cfloat>

namespace pcsr {
namespace {

constexpr double unit_roundoff = 0x1p-24;
constexpr double largest_product = 1e37; // of two lengths: no sum of products overflows

std::vector<RowSize> measure(const Matrix& from) {
    std::vector<RowSize> sizes(static_cast<std::size_t>(from.rows));
#pragma omp parallel for num_threads(threads_for(double(from.rows) * double(from.width)))
    for (std::int64_t row = 0; row < from.rows; ++row) {
        sizes[row] = avx512::screen.measure(from, row);
    }
    return sizes;
}

// Written so that a NaN stays.
RowSize largest(const std::vector<RowSize>& sizes) {
    RowSize all{0, 0};
    for (const RowSize& size : sizes) {
        all.length = size.length <= all.length ? all.length : size.length;
        all.rounding = size.rounding <= all.rounding ? all.rounding : size.rounding;
    }
    return all;
}

// What rounding the inputs, summing in either precision, adding margins and flushing tiny values can change together.
double bound(const RowSize& one, const RowSize& other, std::int64_t width, double margin) {
    const double lengths = (one.length + one.rounding) * (other.length + other.rounding);
    const double rounded = one.length * other.rounding + one.rounding * (other.length + other.rounding);
    const double summed = 2.02 * static_cast<double>(width + 2) * unit_roundoff * lengths;
    const double shifted = 4 * unit_roundoff * (lengths + margin);
    const double flushed = 8 * static_cast<double>(width) * FLT_MIN * (1 + lengths + one.length + other.length);
    return rounded + summed + shifted + flushed;
}

} // namespace

bool has_half() {
    return active_isa() >= Isa::avx512_bf16;
}

const HalfKernels& half_kernels() {
    return active_isa() == Isa::amx ? amx::products : avx512_bf16::products;
}

bool worth_screening(const Matrix& x, const Matrix& y) {
    constexpr double least_work = 1 << 26;
    constexpr std::int64_t least_width = 128;
    return has_half() && x.width >= least_width && double(x.rows) * double(y.rows) * double(x.width) >= least_work;
}

ErrorBounds::ErrorBounds(const Matrix& x, const Matrix& y, double margin) {
    const std::vector<RowSize> of_x = measure(x), of_y = measure(y);
    const RowSize most_x = largest(of_x), most_y = largest(of_y);
    const double lengths = (most_x.length + most_x.rounding) * (most_y.length + most_y.rounding);
    valid = lengths < largest_product && margin < largest_product;
    rows.reserve(of_x.size());
    columns.reserve(of_y.size());
    for (const RowSize& size : of_x) {
        rows.push_back(bound(size, most_y, x.width, margin));
    }
    for (const RowSize& size : of_y) {
        columns.push_back(bound(size, most_x, x.width, margin));
    }
}

} // namespace pcsr

#include "gradient.h"
#include "search.h"

namespace pcsr {
namespace {

// Each thread owns some columns of the gradients and passes over all pairs.
constexpr std::int64_t least_columns = 64;

template <typename T>
struct Slice {
    std::int64_t first;
    std::int64_t count;

    void add(const Matrix& from, std::int64_t row, T weight, T* to, std::int64_t place) const {
        if (weight != T(0)) {
            gradient_kernels<T>().add_row(from, row, first, count, weight, to + place * from.width + first);
        }
    }
};

} // namespace

template <typename T>
void hardest_gradient(const Matrix& x, const Matrix& y, const T* by_row, const T* by_column,
                      const std::int64_t* row_indices, const std::int64_t* column_indices, T* dx, T* dy) {
    const int threads = threads_for(8 * double(x.rows) * double(x.width));
    const std::int64_t slices = std::clamp<std::int64_t>(x.width / least_columns, 1, threads);
#pragma omp parallel for num_threads(threads)
    for (std::int64_t part = 0; part < slices; ++part) {
        const std::int64_t first = x.width * part / slices, last = x.width * (part + 1) / slices;
        const Slice<T> slice{first, last - first};
        for (std::int64_t i = 0; i < x.rows; ++i) {
            std::fill_n(dx + i * x.width + first, slice.count, T(0));
            std::fill_n(dy + i * x.width + first, slice.count, T(0));
        }
        for (std::int64_t i = 0; i < x.rows; ++i) {
            const T row = by_row[i], column = by_column[i];
            slice.add(y, row_indices[i], row, dx, i);
            slice.add(y, i, -(row + column), dx, i);
            slice.add(y, i, column, dx, column_indices[i]);
            slice.add(x, column_indices[i], column, dy, i);
            slice.add(x, i, -(row + column), dy, i);
            slice.add(x, i, row, dy, row_indices[i]);
        }
    }
}

template void hardest_gradient<float>(const Matrix&, const Matrix&, const float*, const float*, const std::int64_t*,
                                      const std::int64_t*, float*, float*);
template void hardest_gradient<double>(const Matrix&, const Matrix&, const double*, const double*, const std::int64_t*,
                                       const std::int64_t*, double*, double*);

} // namespace pcsr

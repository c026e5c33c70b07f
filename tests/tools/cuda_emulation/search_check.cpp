// The search for hardest negatives through the C interface, in buffers of exactly their size, against plain
// loops in float64. For sanitizers, which need no Python this way, and for kernels with planted faults.
// Arguments: arithmetic (0 to 3), rows, columns, width. Exit status 0: right, 1: wrong, 2: refused with a message.
#include "interface.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

using namespace pcsr::cuda;

namespace {

// Values of one side: as the kernel reads them, and what they mean.
struct Side {
    std::unique_ptr<unsigned char[]> bytes;
    std::vector<double> values;
    Matrix matrix;

    // All of one sign: scores are negative, so that what lies beyond the matrix, a score of 0, would win.
    Side(std::int64_t rows, std::int64_t width, Arithmetic arithmetic, float sign) : values(rows * width) {
        std::mt19937 random(sign > 0 ? 1 : 2);
        std::normal_distribution<float> normal;
        const std::size_t size = arithmetic < Arithmetic::bfloat16 ? 4 : 2;
        bytes.reset(new unsigned char[values.size() * size]);
        for (std::size_t k = 0; k < values.size(); ++k) {
            const float value = sign * std::fabs(normal(random));
            const auto bits = __builtin_bit_cast(std::uint32_t, value);
            const std::uint16_t half = arithmetic == Arithmetic::bfloat16
                                           ? static_cast<std::uint16_t>(bits >> 16)
                                           : __builtin_bit_cast(std::uint16_t, static_cast<_Float16>(value));
            __builtin_memcpy(bytes.get() + k * size, size == 4 ? static_cast<const void*>(&value) : &half, size);
            values[k] = arithmetic < Arithmetic::bfloat16 ? value
                        : arithmetic == Arithmetic::bfloat16
                            ? __builtin_bit_cast(float, static_cast<std::uint32_t>(half) << 16)
                            : static_cast<float>(__builtin_bit_cast(_Float16, half));
        }
        matrix = {bytes.get(), rows, width, width, nullptr};
    }
};

template <class T>
std::unique_ptr<T[]> exact(std::int64_t count) {
    return std::unique_ptr<T[]>(new T[count]());
}

int check_side(const std::vector<double>& scores, std::int64_t rows, std::int64_t columns, const float* values,
               const std::int64_t* indices, double slack) {
    int wrong = 0;
    for (std::int64_t i = 0; i < rows; ++i) {
        double most = -INFINITY;
        for (std::int64_t j = 0; j < columns; ++j) {
            most = i % 5 == j % 5 ? most : std::fmax(most, scores[i * columns + j]);
        }
        const bool none = most == -INFINITY;
        const bool inside = indices[i] >= 0 && indices[i] < columns;
        const bool right = none ? indices[i] == -1
                                : inside && indices[i] % 5 != i % 5 && std::fabs(values[i] - most) <= slack &&
                                      scores[i * columns + indices[i]] >= most - slack;
        wrong += !right;
    }
    return wrong;
}

std::vector<double> product(const Side& x, const Side& y, bool transposed) {
    const std::int64_t rows = x.matrix.rows, columns = y.matrix.rows, width = x.matrix.width;
    std::vector<double> scores(rows * columns);
    for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < columns; ++j) {
            double sum = 0;
            for (std::int64_t k = 0; k < width; ++k) {
                sum += x.values[i * width + k] * y.values[j * width + k];
            }
            scores[transposed ? j * rows + i : i * columns + j] = sum;
        }
    }
    return scores;
}

// Group ids i % 5 on both sides.
std::unique_ptr<std::int64_t[]> groups(std::int64_t count) {
    auto ids = exact<std::int64_t>(count);
    for (std::int64_t i = 0; i < count; ++i) {
        ids[i] = i % 5;
    }
    return ids;
}

} // namespace

int main(int, char** arguments) {
    const auto arithmetic = static_cast<Arithmetic>(std::atoi(arguments[1]));
    const std::int64_t rows = std::atoi(arguments[2]), columns = std::atoi(arguments[3]),
                       width = std::atoi(arguments[4]);
    const Side x(rows, width, arithmetic, 1.0f), y(columns, width, arithmetic, -1.0f);
    const auto row_groups = groups(rows), column_groups = groups(columns);
    const auto row_keys = exact<Key>(rows), column_keys = exact<Key>(columns);
    const auto own = exact<float>(rows), row_values = exact<float>(rows), column_values = exact<float>(columns);
    const auto row_indices = exact<std::int64_t>(rows), column_indices = exact<std::int64_t>(columns);
    const Queue queue{0, nullptr};
    const HardestSearch search{row_groups.get(),
                               column_groups.get(),
                               nullptr,
                               0,
                               Shift::none,
                               row_keys.get(),
                               column_keys.get(),
                               rows == columns ? own.get() : nullptr,
                               row_values.get(),
                               row_indices.get(),
                               column_values.get(),
                               column_indices.get()};
    if (const int error = pcsr_cuda_hardest(&queue, &x.matrix, &y.matrix, arithmetic, &search)) {
        std::fprintf(stderr, "%s\n", pcsr_cuda_message(error));
        return 2;
    }
    const double slack = 1e-5 * static_cast<double>(width);
    const auto scores = product(x, y, false);
    int wrong = check_side(scores, rows, columns, row_values.get(), row_indices.get(), slack);
    wrong += check_side(product(x, y, true), columns, rows, column_values.get(), column_indices.get(), slack);
    for (std::int64_t i = 0; rows == columns && i < rows; ++i) {
        wrong += !(std::fabs(own[i] - scores[i * columns + i]) <= slack);
    }
    return wrong != 0;
}

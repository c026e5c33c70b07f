// What drivers and kernels agree on: plain data, no code.
#pragma once

#include <cstdint>

namespace pcsr {

enum class Type : int { f32 = 0, f64 = 1, bf16 = 2 };

// Row-major values with contiguous rows; `stride` counts elements from one row to the next.
struct Matrix {
    const void* data;
    Type type;
    std::int64_t rows;
    std::int64_t width;
    std::int64_t stride;
};

// No matrix: scores that are to be made.
constexpr Matrix nothing{nullptr, Type::f32, 0, 0, 0};

// Integers as wide as T: indices and ids kept beside values in vector registers.
template <typename T>
struct IndexOf;
template <>
struct IndexOf<float> {
    using type = std::int32_t;
};
template <>
struct IndexOf<double> {
    using type = std::int64_t;
};
template <typename T>
using Index = typename IndexOf<T>::type;

// Scores of some neighbouring images (rows) and captions (columns), in scratch memory of the caller.
template <typename T>
struct Block {
    T* scores;
    std::int64_t stride;
    std::int64_t first_row;
    std::int64_t rows;
    std::int64_t first_column;
    std::int64_t columns; // a whole panel of columns; what lies beyond the matrix holds -infinity
};

} // namespace pcsr

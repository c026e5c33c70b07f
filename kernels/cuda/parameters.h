// What Python, launchers and kernels agree on: plain data, no CUDA.
#pragma once

#include <cstdint>

namespace pcsr::cuda {

// How scores are computed from their embeddings; the first two take float32.
enum class Arithmetic : int { plain = 0, split = 1, bfloat16 = 2, float16 = 3 };

// Rows of neighbouring values, `stride` elements apart; row i of a product's side is row rows_of[i] where given.
struct Matrix {
    const void* data;
    std::int64_t rows;
    std::int64_t width;
    std::int64_t stride;
    const std::int64_t* rows_of;
};

// Where margins are added to scores before a maximum is taken.
enum class Shift : int { none = 0, row = 1, column = 2, matrix = 3 };

// A value (its order in the upper half) with its index (inverted, so that the lowest is the largest). 0: none.
using Key = unsigned long long;

} // namespace pcsr::cuda

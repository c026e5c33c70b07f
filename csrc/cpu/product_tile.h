// A tile of a product that lives in registers, and rows turned into columns there. For kernel files alone.
#pragma once

#include "simd.h"

namespace pcsr::PCSR_ISA {
namespace {

// rows x vectors accumulators, one vector of columns each, one broadcast.
constexpr int tile_vectors = 2;
constexpr int tile_rows = PCSR_VECTOR_BYTES == 64 ? 14 : 6;

// sums[row][vector] += a[row] * b[vector] of each depth; `a_step` and `b_step` lead from one depth to the next.
template <typename T, int rows, int vectors>
PCSR_INLINE void add_products(const T* a, std::int64_t a_step, const T* b, std::int64_t b_step, std::int64_t depth,
                              Vec<T> (&sums)[rows][vectors]) {
    for (std::int64_t k = 0; k < depth; ++k, a += a_step, b += b_step) {
        Vec<T> column[vectors];
#pragma GCC unroll 2
        for (int vector = 0; vector < vectors; ++vector) {
            column[vector] = load(b + vector * lanes<T>);
        }
#pragma GCC unroll 14
        for (int row = 0; row < rows; ++row) {
            const Vec<T> x = broadcast(a[row]);
#pragma GCC unroll 2
            for (int vector = 0; vector < vectors; ++vector) {
                sums[row][vector] += x * column[vector];
            }
        }
    }
}

// Rows become columns: halves change places, from single values to whole halves of a vector.
template <typename T>
PCSR_INLINE void transpose(Vec<T>* rows) {
    constexpr int count = lanes<T>;
    using Ints = Vec<Index<T>>;
#pragma GCC unroll 4
    for (int span = 1; span < count; span *= 2) {
        Ints low{}, high{};
        for (int lane = 0; lane < count; ++lane) {
            const bool from_second = (lane & span) != 0;
            low[lane] = static_cast<Index<T>>(from_second ? lane - span + count : lane);
            high[lane] = static_cast<Index<T>>(from_second ? lane + count : lane + span);
        }
#pragma GCC unroll 16
        for (int row = 0; row < count; ++row) {
            if ((row & span) == 0) {
                const Vec<T> first = rows[row], second = rows[row + span];
                rows[row] = __builtin_shuffle(first, second, low);
                rows[row + span] = __builtin_shuffle(first, second, high);
            }
        }
    }
}

} // namespace
} // namespace pcsr::PCSR_ISA

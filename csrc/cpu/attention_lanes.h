// Vectors of floats as the kernels of cross-attention use them.
#pragma once

#include "simd.h"

namespace pcsr::PCSR_ISA {
namespace {

using V = Vec<float>;
constexpr int step = lanes<float>;
constexpr float epsilon = 1e-8f;
constexpr float leaky_slope = 0.1f;

PCSR_INLINE V root(V x) {
    for (int lane = 0; lane < step; ++lane) {
        x[lane] = __builtin_sqrtf(x[lane]);
    }
    return x;
}

PCSR_INLINE V leaky(V x) {
    return x > V{} ? x : x * leaky_slope;
}

// Halves onto each other, so that the lanes do not wait for one another.
PCSR_INLINE float sum_of(V values) {
#pragma GCC unroll 4
    for (int span = step / 2; span > 0; span /= 2) {
        values += __builtin_shuffle(values, iota<Index<float>>() ^ static_cast<Index<float>>(span));
    }
    return values[0];
}

PCSR_INLINE float largest_of(V values) {
    float largest = values[0];
    for (int lane = 1; lane < step; ++lane) {
        largest = values[lane] > largest ? values[lane] : largest;
    }
    return largest;
}

PCSR_INLINE Vec<Index<float>> first_lanes(std::int64_t count) {
    return iota<Index<float>>() < broadcast(static_cast<Index<float>>(count));
}

} // namespace
} // namespace pcsr::PCSR_ISA

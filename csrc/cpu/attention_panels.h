// Panels of columns as products read them: float32 as they are, bfloat16 in pairs of neighbouring depths. Part of
// attention.cpp.
#pragma once

#include "attention.h"
#include "attention_lanes.h"
#include "math.h"

namespace pcsr::PCSR_ISA {
namespace {

using Bits = Vec<std::uint32_t>;
constexpr int panel = 2 * step;
constexpr std::int64_t half_depth = 32; // packed bfloat16 is padded to a multiple

template <typename P>
constexpr bool is_float = false;
template <>
constexpr bool is_float<float> = true;

PCSR_INLINE void put(float* out, std::int64_t k, int vector, int, V even, V odd) {
    store(out + k * panel + vector * step, even);
    store(out + (k + 1) * panel + vector * step, odd);
}

// The upper half of each number, rounded to the nearest, ties away from zero.
PCSR_INLINE Bits upper(V values) {
    return ((Bits)values + 0x8000) & 0xffff0000;
}

PCSR_INLINE void put(std::uint16_t* out, std::int64_t k, int vector, int group, V even, V odd) {
    const std::int64_t pair = k % half_depth / 2, first = vector * step;
    const std::int64_t block = k / half_depth * half_depth * panel + first / group * group * half_depth;
    store(reinterpret_cast<std::uint32_t*>(out + block + (pair * group + first % group) * 2),
          upper(even) >> 16 | upper(odd));
}

// Groups are as wide as a vector; the large parts of one precede the small ones.
PCSR_INLINE void put(Split* out, std::int64_t k, int vector, int, V even, V odd) {
    const std::int64_t pair = k % half_depth / 2, block = k / half_depth * half_depth * panel;
    auto* const to = reinterpret_cast<std::uint32_t*>(out + block + vector * step * half_depth) + pair * step;
    const Bits large[2] = {upper(even), upper(odd)};
    store(to, large[0] >> 16 | large[1]);
    store(to + step * half_depth / 2, upper(even - (V)large[0]) >> 16 | upper(odd - (V)large[1]));
}

// A panel of value(k, vector), k < depth, and zeros up to what the products read.
template <typename P, typename F>
PCSR_INLINE void emit(P* out, std::int64_t depth, int group, F value) {
    const std::int64_t whole = depth / 2 * 2;
    for (std::int64_t k = 0; k < whole; k += 2) {
#pragma GCC unroll 2
        for (int vector = 0; vector < 2; ++vector) {
            const V even = value(k, vector);
            put(out, k, vector, group, even, value(k + 1, vector));
        }
    }
    const std::int64_t end = is_float<P> ? depth : (depth + half_depth - 1) / half_depth * half_depth;
    for (std::int64_t k = whole; k < end; k += 2) {
        for (int vector = 0; vector < 2; ++vector) {
            put(out, k, vector, group, k < depth ? value(k, vector) : V{}, V{});
        }
    }
}

template <typename P>
void attend(float* focused, std::int64_t stride, std::int64_t regions, int group, P* weights, float* totals) {
    V most[2] = {load(focused), load(focused + step)}, sums[2] = {};
    for (std::int64_t region = 1; region < regions; ++region) {
        for (int vector = 0; vector < 2; ++vector) {
            most[vector] = larger<float>(most[vector], load(focused + region * stride + vector * step));
        }
    }
    emit(weights, regions, group, [&](std::int64_t region, int vector) __attribute__((always_inline)) {
        float* const at = focused + region * stride + vector * step;
        const V weight = exp<float>(load(at) - most[vector]);
        sums[vector] += weight;
        store(at, weight);
        return weight;
    });
    store(totals, sums[0]);
    store(totals + step, sums[1]);
}

template <typename P>
void differ(const float* contexts, const float* words, const float* totals, std::int64_t width, int group, P* out) {
    V even[2] = {}, odd[2] = {}, scale[2];
    const auto add = [&](V* sums, std::int64_t k) __attribute__((always_inline)) {
        const V first = load(contexts + k * panel), second = load(contexts + k * panel + step);
        sums[0] += first * first;
        sums[1] += second * second;
    };
    for (std::int64_t k = 0; k + 1 < width; k += 2) {
        add(even, k);
        add(odd, k + 1);
    }
    if (width % 2 == 1) {
        add(even, width - 1);
    }
    for (int vector = 0; vector < 2; ++vector) {
        scale[vector] = 1 / (root(even[vector] + odd[vector]) + epsilon * load(totals + vector * step));
    }
    emit(out, width, group, [&](std::int64_t k, int vector) __attribute__((always_inline)) {
        const std::int64_t at = k * panel + vector * step;
        const V difference = load(contexts + at) * scale[vector] - load(words + at);
        return difference * difference;
    });
}

template <typename P, bool activate, bool tilt>
PCSR_INLINE void settle_as(float* rows, std::int64_t stride, std::int64_t depth, const float* bias, const float* u,
                           float* tilts, int group, P* out) {
    V sums[2] = {};
    emit(out, depth, group, [&](std::int64_t k, int vector) __attribute__((always_inline)) {
        float* const at = rows + k * stride + vector * step;
        V value = load(at);
        if (activate) {
            value = larger<float>(V{}, value + broadcast(bias[k]));
            store(at, value);
        }
        if (tilt) {
            sums[vector] += value * broadcast(u[k]);
        }
        return value;
    });
    if (tilt) {
        store(tilts, sums[0]);
        store(tilts + step, sums[1]);
    }
}

template <typename P>
void settle(float* rows, std::int64_t stride, std::int64_t depth, const float* bias, const float* u, float* tilts,
            int group, P* out) {
    if (u == nullptr) {
        return settle_as<P, false, false>(rows, stride, depth, bias, u, tilts, group, out);
    }
    if (bias == nullptr) {
        return settle_as<P, false, true>(rows, stride, depth, bias, u, tilts, group, out);
    }
    settle_as<P, true, true>(rows, stride, depth, bias, u, tilts, group, out);
}

template <typename P>
constexpr PanelKernels<P> panels() {
    return {attend<P>, differ<P>, settle<P>};
}

} // namespace
} // namespace pcsr::PCSR_ISA

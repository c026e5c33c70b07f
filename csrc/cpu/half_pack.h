// Rounding and packing that both bfloat16 kernels share; each compiles its own copy for its instruction set.
#pragma once

#include "half.h"

#include <immintrin.h>

namespace {

constexpr int half_columns = 32; // of a panel
constexpr int half_step = 32;    // of depth

inline std::uint16_t round_half(float value) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16); // to the nearest, ties to even
}

// Values k..k+32 of a row as bfloat16, zeros beyond the width.
inline __m512i half_values(const pcsr::Matrix& from, std::int64_t row, std::int64_t k) {
    alignas(64) std::uint16_t half[half_step] = {};
    const std::int64_t count = from.width - k < half_step ? from.width - k : half_step;
    const std::int64_t start = row * from.stride + k;
    if (from.type == pcsr::Type::bf16) {
        __builtin_memcpy(half, static_cast<const std::uint16_t*>(from.data) + start, count * sizeof(std::uint16_t));
    } else {
        const float* const values = static_cast<const float*>(from.data) + start;
        for (std::int64_t i = 0; i < count; ++i) {
            half[i] = round_half(values[i]);
        }
    }
    return _mm512_load_si512(half);
}

// Pairs of neighbouring values side by side, `group` columns at a time: [k / 32][column / group][pair][column][k % 2].
template <int group>
void pack_half_columns(const pcsr::Matrix& from, std::int64_t first, std::int64_t count, std::uint16_t* out) {
    for (std::int64_t done = 0; done < count; done += half_columns) {
        for (std::int64_t k = 0; k < from.width; k += half_step, out += half_step * half_columns) {
            for (int column = 0; column < half_columns; ++column) {
                alignas(64) std::uint32_t pairs[half_step / 2];
                _mm512_store_si512(pairs, done + column < count ? half_values(from, first + done + column, k)
                                                                : _mm512_setzero_si512());
                for (int pair = 0; pair < half_step / 2; ++pair) {
                    __builtin_memcpy(out + ((column / group * half_step / 2 + pair) * group + column % group) * 2,
                                     pairs + pair, sizeof *pairs);
                }
            }
        }
    }
}

} // namespace

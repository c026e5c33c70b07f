// The functions of kernels/cuda/mma.cuh in C++, with the fragment layouts of the PTX ISA. Reads and writes of the
// kernel's memory stand in this header, so that sanitizers see them where the kernel makes them.
#pragma once

#include "emulation.h"

namespace pcsr::cuda {

inline unsigned char* shared_memory() {
    return emulation::shared_memory();
}

inline int thread_now() {
    return static_cast<int>(emulation::thread_index().x);
}

inline float larger(float a, float b) {
    return a > b || a != a ? a : b;
}

inline void settle(float&) {}

inline void copy_async(void* shared, const void* global, int valid) {
    if ((reinterpret_cast<std::uintptr_t>(shared) | reinterpret_cast<std::uintptr_t>(global)) % 16) {
        emulation::fail("cp.async", "an address is not a multiple of 16");
    }
    emulation::start_copy(shared, global, valid);
}

inline void commit_copies() {
    emulation::commit_copies();
}

template <int PENDING>
void wait_copies() {
    emulation::Copy copy;
    while (emulation::next_arrival(PENDING, copy)) {
        for (int k = 0; k < 16; ++k) {
            copy.to[k] = k < copy.valid ? copy.from[k] : 0;
        }
    }
}

inline void load_matrices(std::uint32_t (&out)[4], const void* row) {
    const auto address = reinterpret_cast<std::uintptr_t>(row);
    if (address % 16) {
        emulation::fail("ldmatrix", "an address is not a multiple of 16");
    }
    const std::uint32_t words[2] = {static_cast<std::uint32_t>(address), static_cast<std::uint32_t>(address >> 32)};
    const auto* rows = emulation::meet("ldmatrix", 0xffffffffu, words, 2);
    const int lane = emulation::lane();
    for (int matrix = 0; matrix < 4; ++matrix) {
        const auto& named = rows[matrix * 8 + lane / 4];
        const auto from = named[0] | static_cast<std::uintptr_t>(named[1]) << 32;
        out[matrix] = reinterpret_cast<const std::uint32_t*>(from)[lane % 4];
    }
}

void multiply_bf16(emulation::Slot* slots);
void multiply_f16(emulation::Slot* slots);
void multiply_tf32(emulation::Slot* slots);

inline void mma(const char* name, emulation::Combine multiply, float (&c)[4], const std::uint32_t (&a)[4],
                const std::uint32_t (&b)[2]) {
    std::uint32_t words[10] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    __builtin_memcpy(words + 6, c, sizeof(c));
    const auto* slots = emulation::meet(name, 0xffffffffu, words, 10, multiply);
    __builtin_memcpy(c, slots[emulation::lane()] + 6, sizeof(c));
}

inline void mma_bf16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    mma("mma bf16", multiply_bf16, c, a, b);
}
inline void mma_f16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    mma("mma f16", multiply_f16, c, a, b);
}
inline void mma_tf32(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    mma("mma tf32", multiply_tf32, c, a, b);
}

inline float fast_exp2(float x) {
    return __builtin_exp2f(x);
}

inline float fast_log2(float x) {
    return __builtin_log2f(x);
}

inline float fast_reciprocal(float x) {
    return 1 / x;
}

inline float half_to_float(std::uint16_t bits) {
    return static_cast<float>(__builtin_bit_cast(_Float16, bits));
}

inline std::uint16_t float_to_half(float value) {
    return __builtin_bit_cast(std::uint16_t, static_cast<_Float16>(value));
}

inline std::uint16_t float_to_bf16(float value) {
    const auto bits = __builtin_bit_cast(std::uint32_t, value);
    return value != value ? 0x7fff : static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// To 10 mantissa bits, the nearest, halves away from zero; NaN and infinities stay.
inline std::uint32_t round_tf32(float value) {
    const auto bits = __builtin_bit_cast(std::uint32_t, value);
    return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & 0xffffe000u;
}

} // namespace pcsr::cuda

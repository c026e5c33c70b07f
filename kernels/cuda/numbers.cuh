// Number formats and ordered keys, free of CUDA's own headers for halves.
#pragma once

#include "mma.cuh"
#include "parameters.h"

namespace pcsr::cuda {

struct BFloat16 {
    std::uint16_t bits;
};
struct Float16 {
    std::uint16_t bits;
};

__device__ __forceinline__ float to_float(float value) {
    return value;
}
__device__ __forceinline__ float to_float(BFloat16 value) {
    return __uint_as_float(static_cast<std::uint32_t>(value.bits) << 16);
}
__device__ __forceinline__ float to_float(Float16 value) {
    return half_to_float(value.bits);
}

template <class T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
    return value;
}
template <>
__device__ __forceinline__ BFloat16 from_float<BFloat16>(float value) {
    return {float_to_bf16(value)};
}
template <>
__device__ __forceinline__ Float16 from_float<Float16>(float value) {
    return {float_to_half(value)};
}

// Unsigned integers in the order of the floats; equal zeros are equal, NaN is the largest, nothing maps to 0.
__device__ __forceinline__ std::uint32_t ordered(float value) {
    const std::uint32_t bits = value != value ? 0x7fffffffu : __float_as_uint(value + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float from_ordered(std::uint32_t key) {
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

__device__ __forceinline__ Key packed(std::uint32_t order, std::uint32_t index) {
    return (static_cast<Key>(order) << 32) | static_cast<std::uint32_t>(~index);
}
__device__ __forceinline__ float value_of(Key key) {
    return from_ordered(static_cast<std::uint32_t>(key >> 32));
}
__device__ __forceinline__ std::int64_t index_of(Key key) {
    return static_cast<std::uint32_t>(~key);
}

constexpr float INFINITE = __builtin_huge_valf();

} // namespace pcsr::cuda

// Stands in for CUDA's header of this name, so that g++ compiles the .cu files unchanged for the CPU (KERNELS 3).
// Threads of a block are fibers that run one at a time until a barrier or a warp operation; see emulation.h.
#pragma once

#include "cuda.h"
#include "emulation.h"

#include <cmath>
#include <cstdlib>

// The C library's own leaves the sign in a variable of all threads, which no device has.
inline double lgamma_without_sign(double x) {
    int sign;
    return lgamma_r(x, &sign);
}
#define lgamma(x) lgamma_without_sign(x)

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __grid_constant__

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

#define threadIdx (emulation::thread_index())
#define blockIdx (emulation::block_index())
#define blockDim (emulation::block_size())
#define gridDim (emulation::grid_size())

using cudaError_t = int;
using cudaStream_t = void*;
constexpr int cudaSuccess = 0;
constexpr int cudaErrorInvalidValue = 1;
constexpr int cudaErrorSymbolNotFound = 500;
constexpr int cudaDevAttrMultiProcessorCount = 16;
constexpr int cudaDevAttrComputeCapabilityMajor = 75;
constexpr int cudaDevAttrComputeCapabilityMinor = 76;
constexpr int cudaEnableDefault = 0;
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess = 0 };
constexpr int cudaFuncAttributeMaxDynamicSharedMemorySize = 8;

inline int cudaGetDevice(int* device) {
    return *device = 0;
}
inline int cudaSetDevice(int) {
    return cudaSuccess;
}
inline int cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}
inline int cuda_setting(const char* name, int otherwise) {
    const char* given = std::getenv(name);
    return given ? std::atoi(given) : otherwise;
}
// One multiprocessor, or PCSR_EMULATION_MULTIPROCESSORS: few blocks, so that each takes several tiles;
// PCSR_EMULATION_CAPABILITY, of two digits.
inline int cudaDeviceGetAttribute(int* value, int attribute, int) {
    const int capability = cuda_setting("PCSR_EMULATION_CAPABILITY", 80);
    *value = attribute == cudaDevAttrComputeCapabilityMajor   ? capability / 10
             : attribute == cudaDevAttrComputeCapabilityMinor ? capability % 10
                                                              : cuda_setting("PCSR_EMULATION_MULTIPROCESSORS", 1);
    return cudaSuccess;
}
inline int cudaGetDriverEntryPointByVersion(const char*, void** function, unsigned, unsigned long long,
                                            cudaDriverEntryPointQueryResult* outcome) {
    *function = reinterpret_cast<void*>(&cuTensorMapEncodeTiled);
    *outcome = cudaDriverEntryPointSuccess;
    return cudaSuccess;
}
inline int cudaFuncSetAttribute(const void*, int, int bytes) {
    return bytes > 163 << 10 ? cudaErrorInvalidValue : 0;
}
inline int cudaGetLastError() {
    return emulation::take_error();
}
inline const char* cudaGetErrorString(int error) {
    return emulation::message(error);
}

inline void __syncthreads() {
    emulation::block_barrier();
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
    emulation::warp_barrier(mask);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int offset) {
    return emulation::from_lane("__shfl_xor_sync", mask, value, emulation::lane() ^ offset);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned offset) {
    const int source = emulation::lane() + static_cast<int>(offset);
    return emulation::from_lane("__shfl_down_sync", mask, value, source < 32 ? source : emulation::lane());
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
    return emulation::from_lane("__shfl_sync", mask, value, source & 31);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    const auto* slots = emulation::exchange("__ballot_sync", mask, predicate != 0);
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane) {
        votes |= (mask >> lane & 1u ? static_cast<unsigned>(slots[lane]) : 0u) << lane;
    }
    return votes;
}

inline unsigned __float_as_uint(float value) {
    return __builtin_bit_cast(unsigned, value);
}
inline float __uint_as_float(unsigned bits) {
    return __builtin_bit_cast(float, bits);
}
inline long long __double_as_longlong(double value) {
    return __builtin_bit_cast(long long, value);
}

template <class T>
T atomicMax(T* address, T value) {
    T old = __atomic_load_n(address, __ATOMIC_RELAXED);
    while (old < value &&
           !__atomic_compare_exchange_n(address, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return old;
}
template <class T>
T atomicAdd(T* address, T value) {
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
template <class T>
T atomicOr(T* address, T value) {
    return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);
}

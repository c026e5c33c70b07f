// The instructions that C++ has no name for: asynchronous copies, ldmatrix, mma.sync, conversions (PTX ISA, sm_80).
// Under another compiler than nvcc, the emulation of tests/tools/cuda_emulation provides the same functions.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#ifndef __CUDACC__
#    include "mma_emulation.h"
#else

namespace pcsr::cuda {

__device__ __forceinline__ unsigned char* shared_memory() {
    extern __shared__ __align__(1024) unsigned char pcsr_shared_memory[];
    return pcsr_shared_memory;
}

// The thread's number read anew, so that what follows from it is not kept in registers from tile to tile.
__device__ __forceinline__ int thread_now() {
    int number;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(number));
    return number;
}

// The larger one, NaN if either is.
__device__ __forceinline__ float larger(float a, float b) {
    float most;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(most) : "f"(a), "f"(b));
    return most;
}

// The value in one register from here on, not in another one for every way that leads here.
__device__ __forceinline__ void settle(float& value) {
    asm volatile("" : "+f"(value));
}

// 16 bytes from global to shared memory, both aligned to 16; those from `valid` on become zero and are not read.
__device__ __forceinline__ void copy_async(void* shared, const void* global, int valid) {
    const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(valid) : "memory");
}

__device__ __forceinline__ void commit_copies() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Wait until at most PENDING of this thread's newest groups of copies are under way.
template <int PENDING>
__device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Four 8 x 8 matrices of 16-bit (or 8 x 4 of 32-bit) values; lane l names row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrices(std::uint32_t (&out)[4], const void* row) {
    const unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(from)
                 : "memory");
}

#    define PCSR_MMA(name, shape_and_types)                                                                            \
        __device__ __forceinline__ void name(float (&c)[4], const std::uint32_t (&a)[4],                               \
                                             const std::uint32_t (&b)[2]) {                                            \
            asm("mma.sync.aligned." shape_and_types ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "              \
                "{%0, %1, %2, %3};"                                                                                    \
                : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                       \
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                                   \
        }

// c (16 x 8) += a (16 x 16, or 16 x 8 for tf32) b.
PCSR_MMA(mma_bf16, "m16n8k16.row.col.f32.bf16.bf16")
PCSR_MMA(mma_f16, "m16n8k16.row.col.f32.f16.f16")
PCSR_MMA(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32")
#    undef PCSR_MMA

// The bits of the nearest number of 10 mantissa bits.
__device__ __forceinline__ std::uint32_t round_tf32(float value) {
    std::uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
}

// To about 2^-22; results below 2^-126 are 0.
__device__ __forceinline__ float fast_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float fast_log2(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float fast_reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float half_to_float(std::uint16_t bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

// To the nearest, ties to even.
__device__ __forceinline__ std::uint16_t float_to_half(float value) {
    std::uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
__device__ __forceinline__ std::uint16_t float_to_bf16(float value) {
    std::uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

} // namespace pcsr::cuda

#endif

// The instructions of sm_90a that C++ has no name for: mbarriers, tensor copies (TMA), wgmma, clusters (PTX ISA).
// Under another compiler than nvcc, the emulation of tests/tools/cuda_emulation provides the same functions.
#pragma once

#if !defined(__CUDACC__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#    define PCSR_HAS_WGMMA
#endif

#include "mma.cuh"

#include <cuda.h>

namespace pcsr::cuda {

constexpr int SWIZZLE_BYTES = 128;      // a row of a box: its 16-byte chunks change places with the row, within 8 rows
constexpr int SWIZZLE_ALIGNMENT = 1024; // of a box in shared memory
constexpr int WGMMA_ROWS = 64;
constexpr int WGMMA_COLUMNS = 128;
constexpr int WGMMA_DEPTH_BYTES = 32;

// What a warpgroup holds of 64 x 128 sums: [column / 8][register], as mma.sync lays out 16 rows a warp.
using WideSums = float[WGMMA_COLUMNS / 8][4];

} // namespace pcsr::cuda

#ifndef __CUDACC__
#    include "wgmma_emulation.h"
#else

namespace pcsr::cuda {

// A count of arrivals and of bytes under way; its phase ends when both are complete.
using Barrier = unsigned long long;

__device__ __forceinline__ unsigned shared_address(const void* shared) {
    return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

__device__ __forceinline__ void start_barrier(Barrier* barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// Barriers that this thread has started become known to all, copies included, after the block's next barrier.
__device__ __forceinline__ void publish_barriers() {
    asm volatile("fence.mbarrier_init.release.cluster;\n\tfence.proxy.async.shared::cta;" ::: "memory");
}

// Arrive, and hold the phase until so many bytes more have been copied.
__device__ __forceinline__ void arrive_and_expect(Barrier* barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}

// Wait until the phase of this parity has ended; the one before the first counts as ended, with parity 1.
__device__ __forceinline__ void wait_phase(Barrier* barrier, unsigned parity) {
    const unsigned address = shared_address(barrier);
    unsigned ended = 0;
    while (!ended) {
        asm volatile("{\n\t.reg .pred p;\n\t"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
                     "selp.u32 %0, 1, 0, p;\n\t}"
                     : "=r"(ended)
                     : "r"(address), "r"(parity)
                     : "memory");
    }
}

// The number of this block in its cluster.
__device__ __forceinline__ int rank_in_cluster() {
    int rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// All threads of all blocks of the cluster that have not ended wait for each other.
__device__ __forceinline__ void sync_cluster() {
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
}

// Arrive at the barrier that block `rank` of the cluster has in this place. No scope beyond the block is asked for,
// which would flush caches: what it orders is products' reads, which have ended, before copies.
__device__ __forceinline__ void arrive_in(Barrier* barrier, int rank) {
    asm volatile("{\n\t.reg .b32 there;\n\t"
                 "mapa.shared::cluster.u32 there, %0, %1;\n\t"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n\t}" ::"r"(shared_address(barrier)),
                 "r"(rank)
                 : "memory");
}

// One box of the tensor from (column, row) on, by one thread; zeros beyond its end, all bytes counted by `barrier`.
__device__ __forceinline__ void copy_box(void* shared, const CUtensorMap& map, int column, int row, Barrier* barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], "
                 "[%4];" ::"r"(shared_address(shared)),
                 "l"(&map), "r"(column), "r"(row), "r"(shared_address(barrier))
                 : "memory");
}

// The same into each block of the cluster whose bit of `ranks` is set, counted by its own barrier in this place.
__device__ __forceinline__ void copy_box_to(void* shared, const CUtensorMap& map, int column, int row, Barrier* barrier,
                                            int ranks) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
                 "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(shared)),
                 "l"(&map), "r"(column), "r"(row), "r"(shared_address(barrier)), "h"(static_cast<short>(ranks))
                 : "memory");
}

// The barrier of the first 8 warps alone.
__device__ __forceinline__ void sync_consumers() {
    asm volatile("bar.sync 1, 256;" ::: "memory");
}

// Rows of 128 swizzled bytes, eight in 1024, the depth along a row.
__device__ __forceinline__ std::uint64_t describe_rows(const void* shared) {
    constexpr std::uint64_t SWIZZLED_BY_128 = 1ull << 62, EIGHT_ROWS = 1024ull >> 4 << 32, UNUSED = 1ull << 16;
    return SWIZZLED_BY_128 | EIGHT_ROWS | UNUSED | (shared_address(shared) & 0x3ffff) >> 4;
}

// Sums belong to wgmma from here on, until `finish_products`.
__device__ __forceinline__ void start_products() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void commit_products() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Wait until at most PENDING of this warpgroup's newest groups of products are under way.
template <int PENDING>
__device__ __forceinline__ void wait_products(WideSums& sums) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
    for (auto& eight : sums) {
        asm volatile("" : "+f"(eight[0]), "+f"(eight[1]), "+f"(eight[2]), "+f"(eight[3])::"memory");
    }
}

#    define PCSR_FOUR(j) "+f"(sums[j][0]), "+f"(sums[j][1]), "+f"(sums[j][2]), "+f"(sums[j][3])
#    define PCSR_WGMMA(name, types)                                                                                    \
        __device__ __forceinline__ void name(WideSums& sums, std::uint64_t a, std::uint64_t b) {                       \
            asm volatile("{\n\t.reg .pred p;\n\tsetp.eq.u32 p, 0, 0;\n\t"                                              \
                         "wgmma.mma_async.sync.aligned.m64n128k16.f32." types " "                                      \
                         "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                     \
                         "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "            \
                         "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "            \
                         "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "           \
                         "%64, %65, p, 1, 1, 0, 0;\n\t}"                                                               \
                         : PCSR_FOUR(0), PCSR_FOUR(1), PCSR_FOUR(2), PCSR_FOUR(3), PCSR_FOUR(4), PCSR_FOUR(5),         \
                           PCSR_FOUR(6), PCSR_FOUR(7), PCSR_FOUR(8), PCSR_FOUR(9), PCSR_FOUR(10), PCSR_FOUR(11),       \
                           PCSR_FOUR(12), PCSR_FOUR(13), PCSR_FOUR(14), PCSR_FOUR(15)                                  \
                         : "l"(a), "l"(b)                                                                              \
                         : "memory");                                                                                  \
        }

// sums (64 x 128 of a warpgroup) += a (64 x 16) b^T (128 x 16), both described rows; under way until waited for.
PCSR_WGMMA(wgmma_bf16, "bf16.bf16")
PCSR_WGMMA(wgmma_f16, "f16.f16")
#    undef PCSR_WGMMA
#    undef PCSR_FOUR

} // namespace pcsr::cuda

#endif

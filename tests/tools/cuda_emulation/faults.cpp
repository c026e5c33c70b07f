// Small kernels, right and wrong ones: what the emulation must run, and what it must find. The argument names one; exit
// status 0: it ran and its result is right, 1: the result is wrong, 2: the emulation refused it with a message.
#include "launch.h"
#include "mma.cuh"

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

using namespace pcsr::cuda;

namespace {

constexpr int COUNT = 64;

__global__ void reverse(int* values, bool with_barrier) {
    auto* shared = reinterpret_cast<int*>(shared_memory());
    shared[threadIdx.x] = values[threadIdx.x];
    if (with_barrier) {
        __syncthreads();
    }
    values[threadIdx.x] = shared[COUNT - 1 - threadIdx.x];
}

__global__ void diverge(int*) {
    if (threadIdx.x < 40) {
        __syncthreads();
    }
}

__global__ void half_a_warp(int* values) {
    if (threadIdx.x % 32 < 16) {
        values[threadIdx.x] = __shfl_xor_sync(0xffffffffu, values[threadIdx.x], 1);
    }
}

__global__ void outside_the_mask(int* values) {
    values[threadIdx.x] = __shfl_sync(0x0000ffffu, values[threadIdx.x], 0);
}

__global__ void different_operations(int* values) {
    if (threadIdx.x % 2) {
        __syncwarp();
    } else {
        values[threadIdx.x] = __shfl_xor_sync(0xffffffffu, values[threadIdx.x], 1);
    }
}

__global__ void reverse_by_copies(int* values, bool with_wait) {
    auto* shared = shared_memory();
    if (threadIdx.x < COUNT / 4) {
        copy_async(shared + threadIdx.x * 16, values + threadIdx.x * 4, 16);
        commit_copies();
    }
    if (with_wait) {
        wait_copies<0>();
    }
    __syncthreads();
    const int mine = reinterpret_cast<int*>(shared)[COUNT - 1 - threadIdx.x];
    __syncthreads();
    values[threadIdx.x] = mine;
}

__global__ void read_nothing_written(int* values) {
    values[threadIdx.x] = reinterpret_cast<int*>(shared_memory())[threadIdx.x] == -1 ? COUNT - 1 - threadIdx.x : 0;
}

__global__ void misaligned_copy(int* values) {
    copy_async(shared_memory(), values + 1, 16);
}

__global__ void beyond_the_end(int* values) {
    values[threadIdx.x + 1] = 0;
}

__global__ void beyond_shared_memory(int* values) {
    reinterpret_cast<volatile int*>(shared_memory())[threadIdx.x + 1] = values[threadIdx.x];
}

// Two blocks of a cluster, each writing where the other one reads.
__global__ void exchange(int* values, bool with_barrier) {
    auto* shared = reinterpret_cast<int*>(shared_memory());
    const int rank = emulation::rank_in_cluster(), half = COUNT / 2, thread = threadIdx.x;
    *static_cast<int*>(emulation::in_block(shared + thread, 1 - rank)) = values[rank * half + thread];
    if (with_barrier) {
        emulation::cluster_barrier();
    }
    values[rank * half + thread] = shared[half - 1 - thread];
}

__global__ void reach_a_block_that_ends(int*) {
    if (emulation::rank_in_cluster() == 0) {
        *static_cast<int*>(emulation::in_block(shared_memory(), 1)) = 0;
    }
}

__global__ void part_of_a_cluster_waits(int*) {
    if (emulation::rank_in_cluster() == 0) {
        __syncthreads();
    }
    if (threadIdx.x < 16) {
        __syncthreads();
    }
    emulation::cluster_barrier();
}

// Lane l reads values[l ^ 1] by a shuffle, adds votes of the even lanes and an atomic count: all as CUDA defines them.
__global__ void warp_operations(int* values) {
    const int swapped = __shfl_xor_sync(0xffffffffu, values[threadIdx.x], 1);
    const int next = __shfl_down_sync(0xffffffffu, swapped, 1);
    const unsigned even = __ballot_sync(0xffffffffu, threadIdx.x % 2 == 0);
    __syncwarp();
    const int expected = (threadIdx.x % 32 == 31 ? threadIdx.x : (threadIdx.x + 1)) ^ 1u;
    const bool right = next == expected && even == 0x55555555u && swapped == static_cast<int>(threadIdx.x ^ 1u);
    values[threadIdx.x] = right ? COUNT - 1 - static_cast<int>(threadIdx.x) : -1;
}

} // namespace

int main(int, char** arguments) {
    const std::string fault = arguments[1];
    std::vector<int> storage(COUNT + 4);
    int* values = reinterpret_cast<int*>((reinterpret_cast<std::uintptr_t>(storage.data()) + 15) / 16 * 16);
    std::vector<int> exact(COUNT);
    const bool at_the_end = fault == "beyond_the_end";
    int* used = at_the_end ? exact.data() : values;
    for (int i = 0; i < COUNT; ++i) {
        used[i] = i;
    }
    const Queue queue{0, nullptr};
    constexpr std::size_t SHARED = COUNT * sizeof(int);
    const auto run = [&](void (*kernel)(int*)) { return launch(queue, kernel, 1, COUNT, SHARED, used); };
    const auto run_with = [&](void (*kernel)(int*, bool), bool how) {
        return launch(queue, kernel, 1, COUNT, SHARED, used, how);
    };
    const auto run_cluster = [&](auto kernel, auto... how) {
        return launch_clusters<2>(queue, kernel, 1, COUNT / 2, SHARED, used, how...);
    };
    const int error = fault == "none"                   ? run_with(reverse, true)
                      : fault == "cluster"              ? run_cluster(exchange, true)
                      : fault == "cluster_barrier"      ? run_cluster(exchange, false)
                      : fault == "ended_block"          ? run_cluster(reach_a_block_that_ends)
                      : fault == "part_of_a_cluster"    ? run_cluster(part_of_a_cluster_waits)
                      : fault == "barrier"              ? run_with(reverse, false)
                      : fault == "copies"               ? run_with(reverse_by_copies, true)
                      : fault == "wait"                 ? run_with(reverse_by_copies, false)
                      : fault == "warp"                 ? run(warp_operations)
                      : fault == "poison"               ? run(read_nothing_written)
                      : fault == "divergence"           ? run(diverge)
                      : fault == "half_a_warp"          ? run(half_a_warp)
                      : fault == "mask"                 ? run(outside_the_mask)
                      : fault == "operations"           ? run(different_operations)
                      : fault == "alignment"            ? run(misaligned_copy)
                      : fault == "beyond_the_end"       ? run(beyond_the_end)
                      : fault == "beyond_shared_memory" ? run(beyond_shared_memory)
                      : fault == "threads"              ? launch(queue, diverge, 1, 1025, 0, used)
                                                        : -1;
    if (error) {
        std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
        return 2;
    }
    for (int i = 0; i < COUNT; ++i) {
        if (used[i] != COUNT - 1 - i) {
            return 1;
        }
    }
    return 0;
}

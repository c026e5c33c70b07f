// The tile of tile.cuh by the tensor cores of sm_90a: one warp copies boxes ahead into a ring of stages, two
// warpgroups multiply them out of shared memory (KERNELS 1, K1). Stages go round from tile to tile, so that copies go
// on while the epilogue works. Blocks come in clusters, with tiles one below the other: each copies its part of the box
// of columns, which they share, into all of them, and fewer bytes leave the second-level cache.
#pragma once

#include "reduce.cuh"
#include "wgmma.cuh"

namespace pcsr::cuda {

constexpr int WIDE_CONSUMERS = 256;
constexpr int WIDE_THREADS = WIDE_CONSUMERS + 32;
constexpr int WIDE_BLOCKS_PER_SM = 2;
constexpr int WIDE_STAGES = 3;
constexpr int WIDE_CLUSTER = 2;
constexpr int PART_ROWS = TILE / WIDE_CLUSTER; // of the shared box that one block copies
constexpr int BOX_BYTES = TILE * SWIZZLE_BYTES;
constexpr int PART_BYTES = PART_ROWS * SWIZZLE_BYTES;
constexpr int WIDE_STAGE_BYTES = 2 * BOX_BYTES;

// 16 rows and all columns of the tile a warp.
struct WideLayout : Layout<16, WGMMA_COLUMNS> {
    static __device__ __forceinline__ void sync() { sync_consumers(); }
};

using Multiply = void (*)(WideSums&, std::uint64_t, std::uint64_t);

template <class Epilogue>
struct WideMemory {
    alignas(SWIZZLE_ALIGNMENT) unsigned char stages[WIDE_STAGES][2][BOX_BYTES];
    unsigned char reduction[REDUCTION_BYTES<WideLayout, Epilogue>];
    alignas(8) Barrier arrived[WIDE_STAGES];
    Barrier read[WIDE_STAGES];
};

// Which stage comes next, and how often the ring has been round, as a parity; one register.
struct Turn {
    int count = 0;

    __device__ __forceinline__ int stage() const { return count < WIDE_STAGES ? count : count - WIDE_STAGES; }
    __device__ __forceinline__ unsigned parity() const { return count >= WIDE_STAGES; }
    __device__ __forceinline__ void next() { count = count + 1 == 2 * WIDE_STAGES ? 0 : count + 1; }
};

template <class Memory>
__device__ __forceinline__ void start_ring(Memory& memory) {
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < WIDE_STAGES; ++stage) {
            start_barrier(&memory.arrived[stage], 1);
            start_barrier(&memory.read[stage], WIDE_CLUSTER * WIDE_CONSUMERS / 32);
        }
        publish_barriers();
    }
    sync_cluster();
}

// Boxes of every step of a tile, as stages become free in all blocks of the cluster.
template <class Memory>
__device__ __forceinline__ void fetch_tile(Memory& memory, Turn& turn, const CUtensorMap& x, const CUtensorMap& y,
                                           const Tile& tile, int rank, int steps) {
    constexpr int ALL = (1 << WIDE_CLUSTER) - 1;
    for (int step = 0; step < steps; ++step, turn.next()) {
        const int stage = turn.stage();
        wait_phase(&memory.read[stage], turn.parity() ^ 1);
        Barrier* arrived = &memory.arrived[stage];
        arrive_and_expect(arrived, WIDE_STAGE_BYTES);
        const int column = step * (SWIZZLE_BYTES / 2);
        copy_box(memory.stages[stage][0], x, column, tile.first_row, arrived);
        copy_box_to(memory.stages[stage][1] + rank * PART_BYTES, y, column, tile.first_column + rank * PART_ROWS,
                    arrived, ALL);
    }
}

// One group of products is under way while the next stage is waited for. The first lanes of a warp say for it that it
// has read a stage, each to one block.
template <Multiply MULTIPLY, class Memory>
__device__ __forceinline__ void multiply_stages(WideSums& sums, Memory& memory, Turn& turn, int steps) {
    const int warpgroup = threadIdx.x / 128, lane = threadIdx.x % 32;
    const bool speaks = lane < WIDE_CLUSTER;
    int before = 0;
    for (int step = 0; step < steps; ++step, turn.next()) {
        const int stage = turn.stage();
        wait_phase(&memory.arrived[stage], turn.parity());
        start_products();
        const unsigned char* x = memory.stages[stage][0] + warpgroup * WGMMA_ROWS * SWIZZLE_BYTES;
        const unsigned char* y = memory.stages[stage][1];
#pragma unroll
        for (int offset = 0; offset < SWIZZLE_BYTES; offset += WGMMA_DEPTH_BYTES) {
            MULTIPLY(sums, describe_rows(x + offset), describe_rows(y + offset));
        }
        commit_products();
        wait_products<1>(sums);
        if (speaks && step > 0) {
            arrive_in(&memory.read[before], lane);
        }
        before = stage;
    }
    wait_products<0>(sums);
    if (speaks) {
        arrive_in(&memory.read[before], lane);
    }
}

// As `walk_tiles`, of 16-bit values in rows that `x` (boxes of TILE rows) and `y` (of PART_ROWS) describe. `groups` of
// WIDE_CLUSTER tiles are shared by clusters; a block whose tile lies beyond the matrix copies for the others.
template <Multiply MULTIPLY, class Epilogue>
__global__ void __launch_bounds__(WIDE_THREADS, WIDE_BLOCKS_PER_SM)
    walk_wide_tiles(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap y, Product product,
                    std::int64_t groups, Epilogue epilogue) {
#ifdef PCSR_HAS_WGMMA
    auto& memory = *reinterpret_cast<WideMemory<Epilogue>*>(shared_memory());
    const int steps = static_cast<int>((product.x.width * 2 + SWIZZLE_BYTES - 1) / SWIZZLE_BYTES);
    const int rank = rank_in_cluster(), clusters = gridDim.x / WIDE_CLUSTER;
    start_ring(memory);
    Turn turn;
    if (threadIdx.x > WIDE_CONSUMERS) {
        return;
    }
    for (int round = 0;; ++round) {
        const std::int64_t number = blockIdx.x / WIDE_CLUSTER + static_cast<std::int64_t>(round) * clusters;
        if (number >= groups) {
            break;
        }
        const Tile tile = tile_at<WIDE_CLUSTER>(product, number, rank);
        if (threadIdx.x == WIDE_CONSUMERS) {
            fetch_tile(memory, turn, x, y, tile, rank, steps);
        } else {
            WideSums sums[1] = {};
            multiply_stages<MULTIPLY>(sums[0], memory, turn, steps);
            reduce_tile<WideLayout>(sums, tile, epilogue, memory.reduction);
        }
    }
    sync_cluster(); // others may still arrive at barriers of this block
#endif
}

} // namespace pcsr::cuda

// One 128 x 128 tile of S = x y^T in the registers of a block, by a pipeline of asynchronous copies (KERNELS 1, K1).
// Rows are loaded 64 bytes at a time, whatever the type; every score is summed in the same order wherever it lies.
#pragma once

#include "numbers.cuh"

namespace pcsr::cuda {

constexpr int TILE = 128;
constexpr int THREADS = 256;
constexpr int WARP_ROWS = 64; // of the tile that one warp holds
constexpr int WARP_COLUMNS = 32;
constexpr int ROW_BYTES = 64; // of each row that one stage of the pipeline holds
constexpr int CHUNK = 16;     // bytes of one copy
constexpr int SIDE_BYTES = TILE * ROW_BYTES;
constexpr int STAGES = 4;
constexpr int PIPELINE_BYTES = STAGES * 2 * SIDE_BYTES;
constexpr int BAND = 8; // rows of tiles that neighbouring blocks share, so that both sides stay in the cache

constexpr unsigned WARP = 0xffffffffu;

struct Product {
    Matrix x;
    Matrix y;
    bool diagonal; // tiles on the diagonal alone
};

// Where a tile lies, and how much of it lies inside the matrix, of fewer than 2^31 rows and columns.
struct Tile {
    int first_row;
    int first_column;
    int rows;
    int columns;
};

// Warps that hold ROWS x COLUMNS of the tile each, in 16 x 8 fragments as mma.sync lays them out.
template <int ROWS, int COLUMNS>
struct Layout {
    static constexpr int DOWN = ROWS / 16; // fragments of a warp
    static constexpr int ACROSS = COLUMNS / 8;
    static constexpr int WARPS_DOWN = TILE / ROWS;
    static constexpr int WARPS_ACROSS = TILE / COLUMNS;

    using Fragments = float[DOWN][ACROSS][4];

    // Where this thread's values lie in the tile.
    struct Place {
        int row;
        int column;

        explicit __device__ __forceinline__ Place(int thread) {
            const int warp = thread / 32, lane = thread % 32;
            row = warp / WARPS_ACROSS * ROWS + lane / 4;
            column = warp % WARPS_ACROSS * COLUMNS + lane % 4 * 2;
        }
        __device__ __forceinline__ int row_of(int down, int part) const { return row + down * 16 + part / 2 * 8; }
        __device__ __forceinline__ int column_of(int across, int part) const { return column + across * 8 + part % 2; }
    };

    // `change` every value of this thread, with its row and column of the tile.
    template <class Change>
    static __device__ __forceinline__ void for_each(Fragments& sums, const Change& change) {
        const Place place(thread_now());
#pragma unroll
        for (int down = 0; down < DOWN; ++down) {
#pragma unroll
            for (int across = 0; across < ACROSS; ++across) {
#pragma unroll
                for (int part = 0; part < 4; ++part) {
                    change(sums[down][across][part], place.row_of(down, part), place.column_of(across, part));
                    settle(sums[down][across][part]);
                }
            }
        }
    }
};

struct TileLayout : Layout<WARP_ROWS, WARP_COLUMNS> {
    static __device__ __forceinline__ void sync() { __syncthreads(); }
};
using Fragments = TileLayout::Fragments;
using Place = TileLayout::Place;

// Offset of a chunk of a row in one side of a stage; eight rows of one chunk lie in different banks.
__device__ __forceinline__ int chunk_offset(int row, int chunk) {
    return row * ROW_BYTES + ((chunk ^ (row >> 1)) & 3) * CHUNK;
}

// This thread's part in loading one side: a chunk of two rows of every stage.
template <class Element>
struct Loader {
    static constexpr int STEP = THREADS * CHUNK / ROW_BYTES;
    static constexpr int PARTS = TILE / STEP;

    const unsigned char* from[PARTS];
    int row_bytes[PARTS]; // 0 beyond the matrix
    int to;
    bool aligned;

    __device__ __forceinline__ Loader(const Matrix& side, std::int64_t first) {
        const int row = threadIdx.x / (ROW_BYTES / CHUNK), chunk = threadIdx.x % (ROW_BYTES / CHUNK);
        const auto* base = static_cast<const unsigned char*>(side.data);
        to = chunk_offset(row, chunk);
        aligned =
            (reinterpret_cast<std::uintptr_t>(base) | static_cast<std::uintptr_t>(side.stride) * sizeof(Element)) %
                CHUNK ==
            0;
        for (int part = 0; part < PARTS; ++part) {
            const std::int64_t index = first + row + part * STEP;
            const bool inside = index < side.rows;
            const std::int64_t at = !inside ? 0 : side.rows_of ? side.rows_of[index] : index;
            from[part] = base + (at * side.stride) * static_cast<std::int64_t>(sizeof(Element)) + chunk * CHUNK;
            row_bytes[part] = inside ? static_cast<int>(side.width * sizeof(Element)) - chunk * CHUNK : 0;
        }
    }

    // Start to copy the bytes of the rows from `offset` on.
    __device__ __forceinline__ void load(unsigned char* shared, int offset) const {
        for (int part = 0; part < PARTS; ++part) {
            const int left = row_bytes[part] - offset;
            const int valid = left < 0 ? 0 : left < CHUNK ? left : CHUNK;
            // STEP is a multiple of 8, so both rows are swizzled alike.
            unsigned char* target = shared + to + part * STEP * ROW_BYTES;
            const unsigned char* source = valid ? from[part] + offset : from[part];
            if (aligned) {
                copy_async(target, source, valid);
            } else {
                copy_elements(target, source, valid);
            }
        }
    }

    static __device__ __forceinline__ void copy_elements(unsigned char* target, const unsigned char* source,
                                                         int valid) {
        auto* values = reinterpret_cast<Element*>(target);
        const auto* wanted = reinterpret_cast<const Element*>(source);
        for (int k = 0; k < CHUNK / static_cast<int>(sizeof(Element)); ++k) {
            values[k] = k * static_cast<int>(sizeof(Element)) < valid ? wanted[k] : Element{};
        }
    }
};

// sums += x y^T of the tile; on return no copy is under way and shared memory is free.
template <class Arithmetic>
__device__ __forceinline__ void multiply_tile(Fragments& sums, const Product& product, const Tile& tile) {
    using Element = typename Arithmetic::Element;
    unsigned char* shared = shared_memory();
    const Loader<Element> x(product.x, tile.first_row), y(product.y, tile.first_column);
    const int bytes = static_cast<int>(product.x.width * sizeof(Element));
    const int steps = (bytes + ROW_BYTES - 1) / ROW_BYTES;
    const auto load = [&](int step) {
        if (step < steps) {
            unsigned char* stage = shared + step % STAGES * 2 * SIDE_BYTES;
            x.load(stage, step * ROW_BYTES);
            y.load(stage + SIDE_BYTES, step * ROW_BYTES);
        }
        commit_copies();
    };
    for (int step = 0; step < STAGES - 1; ++step) {
        load(step);
    }
    for (int step = 0; step < steps; ++step) {
        wait_copies<STAGES - 2>();
        __syncthreads(); // the stage has arrived for all, and all have read the one that is loaded next
        load(step + STAGES - 1);
        const unsigned char* stage = shared + step % STAGES * 2 * SIDE_BYTES;
        Arithmetic::accumulate(sums, stage, stage + SIDE_BYTES);
    }
    wait_copies<0>();
    __syncthreads();
}

// Tile `number` of the walk over the product: down a band of rows, then to the next column. The walk may be one of
// groups of GROUP tiles, one below the other: then that tile of the group, which may lie beyond the product.
template <int GROUP = 1>
__device__ __forceinline__ Tile tile_at(const Product& product, std::int64_t number, int of_group = 0) {
    constexpr int ROWS = TILE * GROUP, MOST = BAND / GROUP;
    const int down = static_cast<int>((product.x.rows + ROWS - 1) / ROWS);
    const int across = static_cast<int>((product.y.rows + TILE - 1) / TILE);
    const std::int64_t of_band = static_cast<std::int64_t>(MOST) * across;
    const int first = static_cast<int>(number / of_band) * MOST, within = static_cast<int>(number % of_band);
    const int height = down - first < MOST ? down - first : MOST;
    const auto row = (product.diagonal ? static_cast<int>(number) : first + within % height) * ROWS + of_group * TILE;
    const auto column = (product.diagonal ? static_cast<int>(number) : within / height) * TILE;
    const std::int64_t rows = product.x.rows - row, columns = product.y.rows - column;
    return {row, column, static_cast<int>(rows < TILE ? rows : TILE),
            static_cast<int>(columns < TILE ? columns : TILE)};
}

// Persistent blocks: each takes every gridDim.x-th tile, multiplies it and hands it to the epilogue.
template <class Arithmetic, class Epilogue>
__global__ void __launch_bounds__(THREADS, Arithmetic::BLOCKS_PER_SM)
    walk_tiles(Product product, std::int64_t tiles, Epilogue epilogue) {
    for (std::int64_t number = blockIdx.x; number < tiles; number += gridDim.x) {
        const Tile tile = tile_at(product, number);
        Fragments sums = {};
        multiply_tile<Arithmetic>(sums, product, tile);
        epilogue.run(sums, tile);
        __syncthreads(); // the next tile is loaded where the epilogue has read
    }
}

} // namespace pcsr::cuda

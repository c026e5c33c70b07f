// A tile's values reduced along its rows and its columns, each handed on once a row and once a column.
#pragma once

#include "tile.cuh"

namespace pcsr::cuda {

template <class Layout, class Value>
struct Partials {
    Value rows[Layout::WARPS_ACROSS][TILE];
    Value columns[Layout::WARPS_DOWN][TILE];
};

template <class Layout, class Reduction>
constexpr int REDUCTION_BYTES =
    sizeof(Partials<Layout, typename Reduction::Value>) + sizeof(typename Reduction::Staged);

template <class Reduction>
__device__ __forceinline__ typename Reduction::Value combine_lanes(typename Reduction::Value value, int first,
                                                                   int end) {
    for (int offset = first; offset < end; offset *= 2) {
        value = Reduction::combine(value, __shfl_xor_sync(WARP, value, offset));
    }
    return value;
}

template <class Layout, class Reduction>
__device__ __forceinline__ void reduce_fragments(const typename Layout::Fragments& sums, const Tile& tile,
                                                 const Reduction& reduction, const typename Reduction::Staged& staged,
                                                 Partials<Layout, typename Reduction::Value>& partials) {
    using Value = typename Reduction::Value;
    const int thread = thread_now(), warp = thread / 32, lane = thread % 32;
    const typename Layout::Place place(thread);
    Value rows[Layout::DOWN * 2];
#pragma unroll
    for (int k = 0; k < Layout::DOWN * 2; ++k) {
        rows[k] = Reduction::nothing();
    }
#pragma unroll
    for (int across = 0; across < Layout::ACROSS; ++across) {
#pragma unroll
        for (int side = 0; side < 2; ++side) {
            const int column = place.column_of(across, side);
            Value best = Reduction::nothing();
#pragma unroll
            for (int k = 0; k < Layout::DOWN * 2; ++k) {
                const int row = place.row_of(k / 2, k % 2 * 2);
                const float score = sums[k / 2][across][k % 2 * 2 + side];
                if (row < tile.rows && column < tile.columns) {
                    reduction.add(rows[k], best, score, row, column, tile, staged);
                }
            }
            best = combine_lanes<Reduction>(best, 4, 32);
            if (lane / 4 == 0) {
                partials.columns[warp / Layout::WARPS_ACROSS][column] = best;
            }
        }
    }
#pragma unroll
    for (int k = 0; k < Layout::DOWN * 2; ++k) {
        const Value best = combine_lanes<Reduction>(rows[k], 1, 4);
        if (lane % 4 == 0) {
            partials.rows[warp % Layout::WARPS_ACROSS][place.row_of(k / 2, k % 2 * 2)] = best;
        }
    }
}

// `Reduction`: what one row or column of the matrix is described by (Staged, load_row, load_column), how a score
// changes the values of its row and column (add, or a reduce_fragments of its own), how two values become one, and
// where the tile's go. By the threads that hold the tile; `shared` has room for REDUCTION_BYTES.
template <class Layout, class Reduction>
__device__ __forceinline__ void reduce_tile(typename Layout::Fragments& sums, const Tile& tile,
                                            const Reduction& reduction, unsigned char* shared) {
    using Value = typename Reduction::Value;
    auto& partials = *reinterpret_cast<Partials<Layout, Value>*>(shared);
    auto& staged = *reinterpret_cast<typename Reduction::Staged*>(shared + sizeof(Partials<Layout, Value>));
    const int thread = thread_now(), place = thread % TILE;
    const bool is_row = thread < TILE;
    const int count = is_row ? tile.rows : tile.columns;
    const bool inside = place < count;
    const int known = inside ? place : count - 1; // also where the tile ends, or lies beyond the matrix
    if (is_row) {
        reduction.load_row(staged, place, tile.first_row + known);
    } else {
        reduction.load_column(staged, place, tile.first_column + known);
    }
    Layout::sync();
    reduce_fragments<Layout>(sums, tile, reduction, staged, partials);
    Layout::sync();
    if (inside && is_row) {
        Value value = partials.rows[0][place];
        for (int warp = 1; warp < Layout::WARPS_ACROSS; ++warp) {
            value = Reduction::combine(value, partials.rows[warp][place]);
        }
        reduction.keep_row(tile, place, value);
    } else if (inside) {
        Value value = partials.columns[0][place];
        for (int warp = 1; warp < Layout::WARPS_DOWN; ++warp) {
            value = Reduction::combine(value, partials.columns[warp][place]);
        }
        reduction.keep_column(tile, place, value);
    }
}

// Over the tile of `multiply_tile`, whose shared memory is free by now.
template <class Reduction>
__device__ __forceinline__ void reduce_tile(Fragments& sums, const Tile& tile, const Reduction& reduction) {
    static_assert(REDUCTION_BYTES<TileLayout, Reduction> <= PIPELINE_BYTES, "shared memory");
    reduce_tile<TileLayout>(sums, tile, reduction, shared_memory());
}

} // namespace pcsr::cuda

// A tile's values reduced along its rows and its columns, each handed on once a row and once a column.
#pragma once

#include "tile.cuh"

namespace pcsr::cuda {

template <class Value>
struct Partials {
    Value rows[WARPS_ACROSS][TILE];
    Value columns[WARPS_DOWN][TILE];
};

template <class Reduction>
__device__ __forceinline__ typename Reduction::Value combine_lanes(typename Reduction::Value value, int first,
                                                                   int end) {
    for (int offset = first; offset < end; offset *= 2) {
        value = Reduction::combine(value, __shfl_xor_sync(WARP, value, offset));
    }
    return value;
}

template <class Reduction>
__device__ __forceinline__ void reduce_fragments(const Fragments& sums, const Tile& tile, const Reduction& reduction,
                                                 const typename Reduction::Staged& staged,
                                                 Partials<typename Reduction::Value>& partials) {
    using Value = typename Reduction::Value;
    const Place place;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Value columns[WARP_COLUMNS / 8][2];
#pragma unroll
    for (int across = 0; across < WARP_COLUMNS / 8; ++across) {
        columns[across][0] = columns[across][1] = Reduction::nothing();
    }
#pragma unroll
    for (int down = 0; down < WARP_ROWS / 16; ++down) {
#pragma unroll
        for (int half = 0; half < 4; half += 2) {
            const int row = place.row_of(down, half);
            Value best = Reduction::nothing();
#pragma unroll
            for (int across = 0; across < WARP_COLUMNS / 8; ++across) {
#pragma unroll
                for (int side = 0; side < 2; ++side) {
                    const int column = place.column_of(across, side);
                    const float score = sums[down][across][half + side];
                    if (row < tile.rows && column < tile.columns) {
                        reduction.add(best, columns[across][side], score, row, column, tile, staged);
                    }
                }
            }
            best = combine_lanes<Reduction>(best, 1, 4);
            if (lane % 4 == 0) {
                partials.rows[warp % WARPS_ACROSS][row] = best;
            }
        }
    }
#pragma unroll
    for (int across = 0; across < WARP_COLUMNS / 8; ++across) {
#pragma unroll
        for (int side = 0; side < 2; ++side) {
            const Value best = combine_lanes<Reduction>(columns[across][side], 4, 32);
            if (lane / 4 == 0) {
                partials.columns[warp / WARPS_ACROSS][place.column_of(across, side)] = best;
            }
        }
    }
}

// `Reduction`: what one row or column of the matrix is described by (Staged, load_row, load_column), how a score
// changes the values of its row and column (add), how two values become one, and where the tile's go.
template <class Reduction>
__device__ __forceinline__ void reduce_tile(const Fragments& sums, const Tile& tile, const Reduction& reduction) {
    using Value = typename Reduction::Value;
    auto& partials = *reinterpret_cast<Partials<Value>*>(shared_memory());
    auto& staged = *reinterpret_cast<typename Reduction::Staged*>(shared_memory() + sizeof(Partials<Value>));
    static_assert(sizeof(Partials<Value>) + sizeof(typename Reduction::Staged) <= PIPELINE_BYTES, "shared memory");
    const int place = threadIdx.x % TILE;
    const bool is_row = threadIdx.x < TILE;
    const bool inside = place < (is_row ? tile.rows : tile.columns);
    if (inside && is_row) {
        reduction.load_row(staged, place, tile.first_row + place);
    } else if (inside) {
        reduction.load_column(staged, place, tile.first_column + place);
    }
    __syncthreads();
    reduce_fragments(sums, tile, reduction, staged, partials);
    __syncthreads();
    if (inside && is_row) {
        Value value = partials.rows[0][place];
        for (int warp = 1; warp < WARPS_ACROSS; ++warp) {
            value = Reduction::combine(value, partials.rows[warp][place]);
        }
        reduction.keep_row(tile.first_row + place, value);
    } else if (inside) {
        Value value = partials.columns[0][place];
        for (int warp = 1; warp < WARPS_DOWN; ++warp) {
            value = Reduction::combine(value, partials.columns[warp][place]);
        }
        reduction.keep_column(tile.first_column + place, value);
    }
}

} // namespace pcsr::cuda

// K1: the hardest negative of every row and column, found in the tile that was just multiplied (METHODS 2.2; KERNELS
// 1). Keys order by value, then by the lower index, and are combined by atomic maxima: no order of blocks changes them.
#pragma once

#include "arithmetic.cuh"
#include "largest.cuh"

namespace pcsr::cuda {

struct HardestNegatives {
    const std::int64_t* row_groups; // null: a row and the column of the same index are a pair
    const std::int64_t* column_groups;
    const float* margins; // added to the scores before the maximum, as `shift` says
    std::int64_t margin_stride;
    Shift shift;
    Key* row_keys;
    Key* column_keys;
    float* own; // scores of the pairs, or null

    using Value = Key;
    struct Staged {
        std::int64_t row_groups[TILE];
        std::int64_t column_groups[TILE];
        float row_margins[TILE];
        float column_margins[TILE];
    };

    static __device__ __forceinline__ Key combine(Key a, Key b) { return a > b ? a : b; }

    __device__ __forceinline__ void load_row(Staged& staged, int place, std::int64_t row) const {
        staged.row_groups[place] = row_groups ? row_groups[row] : row;
        staged.row_margins[place] = shift == Shift::row ? margins[row] : 0.0f;
    }
    __device__ __forceinline__ void load_column(Staged& staged, int place, std::int64_t column) const {
        staged.column_groups[place] = column_groups ? column_groups[column] : column;
        staged.column_margins[place] = shift == Shift::column ? margins[column] : 0.0f;
    }
    // Indices are within the tile until here.
    __device__ __forceinline__ void keep_row(const Tile& tile, int row, Key best) const {
        keep(row_keys + tile.first_row + row, best, tile.first_column);
    }
    __device__ __forceinline__ void keep_column(const Tile& tile, int column, Key best) const {
        keep(column_keys + tile.first_column + column, best, tile.first_row);
    }
    static __device__ __forceinline__ void keep(Key* key, Key best, int first) {
        if (best) {
            atomicMax(key, best - static_cast<unsigned>(first)); // the index is inverted
        }
    }

    // Margins of single scores come before the reduction, whose registers are few; own scores are without them.
    __device__ __forceinline__ void add_matrix(Fragments& sums, const Tile& tile) const {
        TileLayout::for_each(sums, [&](float& score, int row, int column) {
            const std::int64_t at_row = tile.first_row + row, at_column = tile.first_column + column;
            if (row >= tile.rows || column >= tile.columns) {
                return;
            }
            if (own && at_row == at_column) {
                own[at_row] = score;
            }
            score += margins[at_row * margin_stride + at_column];
        });
    }

    // Margins of rows and columns; -infinity where a score is no negative's or lies beyond the matrix. Most tiles have
    // nothing of this.
    template <class Layout>
    __device__ __forceinline__ void prepare(typename Layout::Fragments& sums, const Tile& tile,
                                            const Staged& staged) const {
        const bool diagonal = tile.first_row == tile.first_column;
        if (own && diagonal && shift != Shift::matrix) {
            Layout::for_each(sums, [&](float& score, int row, int column) {
                if (row == column && row < tile.rows && column < tile.columns) {
                    own[tile.first_row + row] = score;
                }
            });
        }
        if (diagonal || row_groups || shift == Shift::row || shift == Shift::column) {
            Layout::for_each(sums, [&](float& score, int row, int column) {
                const float margin = staged.row_margins[row] + staged.column_margins[column];
                score = staged.row_groups[row] == staged.column_groups[column] ? -INFINITE : score + margin;
            });
        }
        if (tile.rows < TILE || tile.columns < TILE) {
            Layout::for_each(sums, [&](float& score, int row, int column) {
                score = row < tile.rows && column < tile.columns ? score : -INFINITE;
            });
        }
    }

    __device__ __forceinline__ void run(Fragments& sums, const Tile& tile) const {
        if (shift == Shift::matrix) {
            add_matrix(sums, tile);
        }
        reduce_tile(sums, tile, *this);
    }
};

template <class Layout>
__device__ __forceinline__ void reduce_fragments(typename Layout::Fragments& sums, const Tile& tile,
                                                 const HardestNegatives& search, const HardestNegatives::Staged& staged,
                                                 Partials<Layout, Key>& partials) {
    search.prepare<Layout>(sums, tile, staged);
    reduce_to_largest<Layout>(sums, partials);
}

// Values and indices of keys; -infinity and -1 where there is none, or where the score itself is -infinity.
__global__ void __launch_bounds__(THREADS)
    unpack_keys(const Key* keys, std::int64_t count, float* values, std::int64_t* indices) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * THREADS;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += step) {
        const float value = keys[i] ? value_of(keys[i]) : -INFINITE;
        values[i] = value;
        indices[i] = value == -INFINITE ? -1 : index_of(keys[i]);
    }
}

} // namespace pcsr::cuda

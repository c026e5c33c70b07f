// K5: retrieval ranks, counted in the tile that was just multiplied, against thresholds from the same sums
// (METHODS 1.3).
#pragma once

#include "arithmetic.cuh"
#include "reduce.cuh"

namespace pcsr::cuda {

struct RankCounts {
    const std::int64_t* image_of_text;
    const Key* best;  // of each image, among its own captions
    const float* own; // score of each caption with its image
    Ties ties;
    unsigned long long* image_ranks;
    unsigned long long* text_ranks;

    using Value = int;
    struct Staged {
        std::int64_t images[TILE]; // of the columns
        std::int64_t positions[TILE];
        float row_scores[TILE];
        float column_scores[TILE];
    };

    static __device__ __forceinline__ int nothing() { return 0; }
    static __device__ __forceinline__ int combine(int a, int b) { return a + b; }

    __device__ __forceinline__ void load_row(Staged& staged, int place, std::int64_t row) const {
        staged.row_scores[place] = value_of(best[row]);
        staged.positions[place] = index_of(best[row]);
    }
    __device__ __forceinline__ void load_column(Staged& staged, int place, std::int64_t column) const {
        staged.images[place] = image_of_text[column];
        staged.column_scores[place] = own[column];
    }
    // NaN comes before everything under pessimistic ties, else after.
    __device__ __forceinline__ bool above(float score, float own_score, bool earlier) const {
        if (ties == Ties::pessimistic) {
            return !(score < own_score);
        }
        return score > own_score || (ties == Ties::stable && score == own_score && earlier);
    }
    __device__ __forceinline__ void add(int& row_count, int& column_count, float score, int row, int column,
                                        const Tile& tile, const Staged& staged) const {
        const std::int64_t image = tile.first_row + row, text = tile.first_column + column;
        if (image == staged.images[column]) {
            return;
        }
        row_count += above(score, staged.row_scores[row], text < staged.positions[row]);
        column_count += above(score, staged.column_scores[column], image < staged.images[column]);
    }
    __device__ __forceinline__ void keep_row(const Tile& tile, int row, int count) const {
        keep(image_ranks + tile.first_row + row, count);
    }
    __device__ __forceinline__ void keep_column(const Tile& tile, int column, int count) const {
        keep(text_ranks + tile.first_column + column, count);
    }
    static __device__ __forceinline__ void keep(unsigned long long* rank, int count) {
        if (count) {
            atomicAdd(rank, static_cast<unsigned long long>(count));
        }
    }

    __device__ __forceinline__ void run(Fragments& sums, const Tile& tile) const { reduce_tile(sums, tile, *this); }
};

// Each image's best caption: the largest own score, of the lowest index.
__global__ void __launch_bounds__(THREADS)
    best_captions(const float* own, const std::int64_t* image_of_text, std::int64_t count, Key* best) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * THREADS;
    for (std::int64_t text = static_cast<std::int64_t>(blockIdx.x) * THREADS + threadIdx.x; text < count;
         text += step) {
        atomicMax(best + image_of_text[text], packed(ordered(own[text]), static_cast<std::uint32_t>(text)));
    }
}

} // namespace pcsr::cuda

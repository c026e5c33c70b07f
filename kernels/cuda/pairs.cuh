// Scores of single pairs, summed just as whole matrices are: those on the diagonal of the product of chosen rows.
#pragma once

#include "arithmetic.cuh"

namespace pcsr::cuda {

struct PairScores {
    float* scores;

    __device__ __forceinline__ void run(Fragments& sums, const Tile& tile) const {
        const Place place(thread_now());
#pragma unroll
        for (int down = 0; down < WARP_ROWS / 16; ++down) {
#pragma unroll
            for (int across = 0; across < WARP_COLUMNS / 8; ++across) {
#pragma unroll
                for (int part = 0; part < 4; ++part) {
                    const int row = place.row_of(down, part);
                    if (row == place.column_of(across, part) && row < tile.rows) {
                        scores[tile.first_row + row] = sums[down][across][part];
                    }
                }
            }
        }
    }
};

} // namespace pcsr::cuda

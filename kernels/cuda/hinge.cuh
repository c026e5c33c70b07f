// K2: sums of hinges along every row and column (METHODS 2.2; KERNELS 1). A tile's sums are added up in a fixed order
// and then as whole numbers of a unit that no sum can overflow, so that the order of blocks changes nothing.
#pragma once

#include "arithmetic.cuh"
#include "reduce.cuh"

namespace pcsr::cuda {

// Margins: with Shift::none each anchor's own, else as in the search, the same for both sums.
struct HingeSums {
    const std::int64_t* groups; // of both sides, null: each pair is alone
    const float* own;
    const float* margins;
    std::int64_t margin_step; // between the margins of neighbouring anchors; of rows for a matrix
    Shift shift;
    const double* unit; // units a whole, a power of two
    unsigned long long* row_sums;
    unsigned long long* column_sums;

    using Value = float;
    struct Staged {
        std::int64_t row_groups[TILE];
        std::int64_t column_groups[TILE];
        float row_own[TILE];
        float column_own[TILE];
        float row_margins[TILE];
        float column_margins[TILE];
    };

    static __device__ __forceinline__ float nothing() { return 0.0f; }
    static __device__ __forceinline__ float combine(float a, float b) { return a + b; }

    __device__ __forceinline__ void load_row(Staged& staged, int place, std::int64_t row) const {
        staged.row_groups[place] = groups ? groups[row] : row;
        staged.row_own[place] = own[row];
        staged.row_margins[place] = shift == Shift::none || shift == Shift::row ? margins[row * margin_step] : 0.0f;
    }
    __device__ __forceinline__ void load_column(Staged& staged, int place, std::int64_t column) const {
        staged.column_groups[place] = groups ? groups[column] : column;
        staged.column_own[place] = own[column];
        staged.column_margins[place] =
            shift == Shift::none || shift == Shift::column ? margins[column * margin_step] : 0.0f;
    }
    __device__ __forceinline__ void add(float& row_sum, float& column_sum, float score, int row, int column,
                                        const Tile& tile, const Staged& staged) const {
        if (staged.row_groups[row] == staged.column_groups[column]) {
            return;
        }
        float by_row = staged.row_margins[row], by_column = staged.column_margins[column];
        if (shift == Shift::matrix) {
            by_row =
                margins[static_cast<std::int64_t>(tile.first_row + row) * margin_step + tile.first_column + column];
        }
        by_row = shift == Shift::column ? by_column : by_row;
        by_column = shift == Shift::none ? by_column : by_row;
        row_sum += fmaxf(by_row + score - staged.row_own[row], 0.0f);
        column_sum += fmaxf(by_column + score - staged.column_own[column], 0.0f);
    }
    __device__ __forceinline__ void keep_row(const Tile& tile, int row, float sum) const {
        keep(row_sums + tile.first_row + row, sum);
    }
    __device__ __forceinline__ void keep_column(const Tile& tile, int column, float sum) const {
        keep(column_sums + tile.first_column + column, sum);
    }
    __device__ __forceinline__ void keep(unsigned long long* total, float sum) const {
        if (sum > 0.0f) {
            atomicAdd(total, static_cast<unsigned long long>(rint(sum * *unit)));
        }
    }

    __device__ __forceinline__ void run(Fragments& sums, const Tile& tile) const { reduce_tile(sums, tile, *this); }
};

// largest = the bits of the largest sum of squares of a row, one warp a row; those of NaN are the largest of all.
template <class T>
__global__ void __launch_bounds__(THREADS) largest_square(Matrix matrix, unsigned* largest) {
    const int lane = threadIdx.x % 32;
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * (THREADS / 32);
    unsigned most = 0;
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * (THREADS / 32) + threadIdx.x / 32;
         row < matrix.rows; row += step) {
        const T* values = static_cast<const T*>(matrix.data) + row * matrix.stride;
        float sum = 0.0f;
        for (std::int64_t k = lane; k < matrix.width; k += 32) {
            const float value = to_float(values[k]);
            sum = fmaf(value, value, sum);
        }
        for (int offset = 1; offset < 32; offset *= 2) {
            sum += __shfl_xor_sync(WARP, sum, offset);
        }
        const unsigned bits = sum != sum ? 0x7fffffffu : __float_as_uint(sum);
        most = bits > most ? bits : most;
    }
    if (lane == 0) {
        atomicMax(largest, most);
    }
}

// The unit in which `count` hinges of scores and margins so large cannot overflow; NaN where they are not finite.
__global__ void choose_unit(const unsigned* largest, std::int64_t count, double* unit) {
    const double scores = sqrt(static_cast<double>(__uint_as_float(largest[0])) * __uint_as_float(largest[1]));
    const double margin = sqrt(static_cast<double>(__uint_as_float(largest[2])));
    const double most = static_cast<double>(count) * (margin + 2.25 * scores) + 1e-30;
    *unit = most < INFINITE ? exp2(61.0 - ceil(log2(most))) : most - most;
}

// sums[i] in units, times `factor`.
__global__ void __launch_bounds__(THREADS)
    scale_sums(const unsigned long long* sums, std::int64_t count, const double* unit, double factor, float* out) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * THREADS;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += step) {
        out[i] = static_cast<float>(static_cast<double>(sums[i]) / *unit * factor);
    }
}

} // namespace pcsr::cuda

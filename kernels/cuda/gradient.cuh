// K1's backward: gradients of one side's embeddings, gathered and scattered by the indices the search has left. The
// scatter runs over a stable sort of those indices, one row after the other: the same sum every time (KERNELS 1, K1).
#pragma once

#include "numbers.cuh"

namespace pcsr::cuda {

constexpr int GRADIENT_THREADS = 128;

// Of dx: own weights by_row, negatives row_index; `others` are by_column, sorted by column_index. Of dy the other way
// round.
template <class T>
struct SideGradient {
    const T* embeddings; // of the other side (count, width)
    std::int64_t stride;
    std::int64_t count;
    std::int64_t width;
    const float* weights; // (count,) upstream gradients of this side's hinges, 0 where inactive
    const std::int32_t* negatives;
    const float* others;         // (count,) those of the other side's hinges
    const std::int32_t* sorted;  // (count,) the other side's negatives, which are rows of this side, ascending
    const std::int64_t* sources; // (count,) whose negatives they are
    T* out;                      // (count, width), contiguous
};

// The first place in ascending `values` that is not below `wanted`.
__device__ __forceinline__ std::int64_t lower_bound(const std::int32_t* values, std::int64_t count,
                                                    std::int64_t wanted) {
    std::int64_t low = 0, high = count;
    while (low < high) {
        const std::int64_t middle = low + (high - low) / 2;
        if (values[middle] < wanted) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

template <class T>
__device__ __forceinline__ float gradient_of(const SideGradient<T>& side, std::int64_t row, std::int64_t column,
                                             std::int64_t first, std::int64_t end) {
    const auto at = [&](std::int64_t other) { return to_float(side.embeddings[other * side.stride + column]); };
    const float weight = side.weights[row], other_weight = side.others[row];
    float sum = 0.0f;
    if (weight != 0.0f || other_weight != 0.0f) {
        sum = weight * (at(side.negatives[row]) - at(row)) - other_weight * at(row);
    }
    for (std::int64_t k = first; k < end; ++k) {
        const std::int64_t source = side.sources[k];
        if (side.others[source] != 0.0f) {
            sum = fmaf(side.others[source], at(source), sum);
        }
    }
    return sum;
}

template <class T>
__global__ void __launch_bounds__(GRADIENT_THREADS) side_gradient(SideGradient<T> side) {
    for (std::int64_t row = blockIdx.x; row < side.count; row += gridDim.x) {
        const std::int64_t first = lower_bound(side.sorted, side.count, row);
        const std::int64_t end = lower_bound(side.sorted, side.count, row + 1);
        for (std::int64_t column = threadIdx.x; column < side.width; column += GRADIENT_THREADS) {
            side.out[row * side.width + column] = from_float<T>(gradient_of(side, row, column, first, end));
        }
    }
}

} // namespace pcsr::cuda

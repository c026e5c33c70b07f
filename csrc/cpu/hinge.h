// Hinge triplet losses with mean, sum or top-k negatives over streamed blocks (METHODS 2.2; KERNELS 1, K1 and K2).
#pragma once

#include "dispatch.h"
#include "types.h"

namespace pcsr {

// An entry's hinges are what its score exceeds its row's and its column's threshold by. Equal ids are no negatives.
template <typename T>
struct HingeState {
    const Index<T>* row_ids;
    const Index<T>* column_ids;
    const T* row_threshold;
    const T* column_threshold;
    T* row_sums; // `lanes` a row
    T* column_sums;
};

// The k largest scores of a row or column, the largest first, earlier ones before equal ones.
template <typename T>
struct TopState {
    const Index<T>* row_ids;
    const Index<T>* column_ids;
    std::int64_t k;
    T* row_scores;
    Index<T>* row_at;
    T* column_scores;
    Index<T>* column_at;
    T* column_least; // the k-th of each column, side by side
};

// What a gradient needs of one side: its thresholds, the weight of each selected active hinge, and the last entry that
// top-k selects (score -infinity: all are).
template <typename T>
struct HingeSide {
    const T* threshold;
    const T* weight;
    const T* least;
    const Index<T>* least_at;
};
template <typename T>
struct HingeGradientState {
    const Index<T>* row_ids;
    const Index<T>* column_ids;
    HingeSide<T> rows;
    HingeSide<T> columns;
    // Sums of what the row hinges and the column hinges weigh: overwritten a row, added to a column.
    T* row_sums[2];
    T* column_sums[2];
};

template <typename T>
struct HingeKernels {
    int lanes;
    void (*sum)(const Block<T>& block, const HingeState<T>& state);
    void (*keep_top)(const Block<T>& block, const TopState<T>& state);
    void (*turn)(const Block<T>& block, const HingeGradientState<T>& state);
};

} // namespace pcsr

PCSR_DECLARE_TABLE(HingeKernels<float>, hinge_f32)
PCSR_DECLARE_TABLE(HingeKernels<double>, hinge_f64)

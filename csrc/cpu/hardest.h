// Reductions of a block of scores to the hardest negative of each row and column (KERNELS 1, K1).
#pragma once

#include "dispatch.h"
#include "types.h"

namespace pcsr {

// Rows keep a best value and its column for every lane, `lanes` apart; columns one each. Equal ids are no negatives;
// among equals the first one seen stays.
template <typename T>
struct HardestState {
    const Index<T>* row_ids;    // of the block's rows
    const Index<T>* column_ids; // of the block's columns
    T* row_best;
    Index<T>* row_at;
    T* column_best;
    Index<T>* column_at;
};

template <typename T>
struct HardestKernels {
    int lanes;
    void (*reduce)(const Block<T>& block, const HardestState<T>& state);
    // Adds margins to the scores before they are compared: one a row, one a column, or a matrix (the others null).
    void (*shift)(const Block<T>& block, const T* by_row, const T* by_column, const T* matrix, std::int64_t stride);
};

} // namespace pcsr

PCSR_DECLARE_TABLE(HardestKernels<float>, hardest_f32)
PCSR_DECLARE_TABLE(HardestKernels<double>, hardest_f64)

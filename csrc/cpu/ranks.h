// Retrieval ranks by counting what comes before the truth (METHODS 1.3; KERNELS 1, K5).
#pragma once

#include "dispatch.h"
#include "search.h"
#include "types.h"

namespace pcsr {

// What equal scores do: come before the truth, after it, or before it where their number is smaller.
enum class Ties : int { pessimistic = 0, optimistic = 1, stable = 2 };

// Thresholds of the block's rows and columns, the number of the caption and image they are the scores of, and counts:
// `lanes` a row, one a column.
template <typename T>
struct RankState {
    const T* row_truth;
    const T* column_truth;
    const Index<T>* row_own;
    const Index<T>* column_own;
    Index<T>* row_counts;
    Index<T>* column_counts;
};

template <typename T>
struct RankKernels {
    int lanes;
    // Adds how many scores come before the truth of their row, and of their column; the truth itself counts too under
    // pessimistic.
    void (*count)(const Block<T>& block, const RankState<T>& state, Ties ties);
};

// Ranks from 0, -1 of an image without a caption.
template <typename T>
void retrieval_ranks(const Matrix& images, const Matrix& captions, const std::int64_t* image_of_caption, Ties ties,
                     Precision precision, std::int64_t* image_ranks, std::int64_t* caption_ranks);

} // namespace pcsr

PCSR_DECLARE_TABLE(RankKernels<float>, ranks_f32)
PCSR_DECLARE_TABLE(RankKernels<double>, ranks_f64)

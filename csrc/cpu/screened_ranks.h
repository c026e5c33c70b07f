// Counts for retrieval ranks at the speed of bfloat16, as float32 gives them (KERNELS 1, K5).
#pragma once

#include "bounds.h"
#include "truth.h"

namespace pcsr {

// Adds to the counts; false, with nothing added, where the bound does not help: values that are not finite or nearly
// overflow, or too many scores near the truth.
bool count_ranks_screened(const HalfKernels& products, const Matrix& images, const Matrix& captions,
                          const Truth<float>& truth, Ties ties, std::int64_t* image_counts,
                          std::int64_t* caption_counts);

} // namespace pcsr

// Hardest negatives at the speed of bfloat16, with the answers of float32 to the bit (KERNELS 1, K1).
#pragma once

#include "half.h"
#include "search.h"

namespace pcsr {

// Scores s^ of rounded embeddings are off by at most a bound known beforehand. What lies further than twice that below
// the largest s^ of its row and of its column cannot be the largest score of either; the few others are computed anew.
// False, with nothing written, where the bound does not help: values that are not finite or nearly overflow, or too
// many near-ties.
bool find_hardest_screened(const HalfKernels& products, const Matrix& x, const Matrix& y, const Groups& groups,
                           const Margins<float>& margins, const Hardest<float>& out);

} // namespace pcsr

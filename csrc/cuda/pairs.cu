// Launches of the scores of single pairs.
#include "pairs.cuh"
#include "products.h"

using namespace pcsr::cuda;

extern "C" int pcsr_cuda_pair_scores(const Queue* queue, const Matrix* x, const Matrix* y, Arithmetic arithmetic,
                                     float* scores) {
    return walk(*queue, {*x, *y, true}, arithmetic, PairScores{scores});
}

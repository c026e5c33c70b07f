// Launches of the retrieval ranks (KERNELS 1, K5).
#include "products.h"
#include "ranks.cuh"

using namespace pcsr::cuda;

extern "C" int pcsr_cuda_ranks(const Queue* queue, const Matrix* x, const Matrix* y, Arithmetic arithmetic,
                               const RankProblem* problem) {
    const Matrix own_images{x->data, y->rows, x->width, x->stride, problem->image_of_text};
    const RankCounts epilogue{problem->image_of_text, problem->best,        problem->own,
                              problem->ties,          problem->image_ranks, problem->text_ranks};
    std::int64_t blocks = 0;
    int error = pcsr_cuda_pair_scores(queue, &own_images, y, arithmetic, problem->own);
    error = error ? error : blocks_for(*queue, y->rows, THREADS, 4, blocks);
    error = error ? error
                  : launch(*queue, &best_captions, blocks, THREADS, 0, static_cast<const float*>(problem->own),
                           problem->image_of_text, y->rows, problem->best);
    return error ? error : walk(*queue, {*x, *y, false}, arithmetic, epilogue);
}

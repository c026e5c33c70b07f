// Launches of the sums of hinges (KERNELS 1, K2).
#include "hinge.cuh"
#include "products.h"

using namespace pcsr::cuda;

namespace {

constexpr int BLOCKS_PER_MULTIPROCESSOR = 4;

template <class T>
cudaError_t find_largest(const Queue& queue, const Matrix& matrix, unsigned* largest) {
    std::int64_t blocks = 0;
    const cudaError_t error = blocks_for(queue, matrix.rows, THREADS / 32, BLOCKS_PER_MULTIPROCESSOR, blocks);
    return error != cudaSuccess ? error : launch(queue, &largest_square<T>, blocks, THREADS, 0, matrix, largest);
}

cudaError_t find_largest(const Queue& queue, const Matrix& matrix, Arithmetic arithmetic, unsigned* largest) {
    switch (arithmetic) {
    case Arithmetic::plain:
    case Arithmetic::split:
        return find_largest<float>(queue, matrix, largest);
    case Arithmetic::bfloat16:
        return find_largest<BFloat16>(queue, matrix, largest);
    case Arithmetic::float16:
        return find_largest<Float16>(queue, matrix, largest);
    }
    return cudaErrorInvalidValue;
}

cudaError_t scale(const Queue& queue, const HingeProblem& problem, const unsigned long long* sums, std::int64_t count,
                  float* out) {
    std::int64_t blocks = 0;
    const cudaError_t error = blocks_for(queue, count, THREADS, BLOCKS_PER_MULTIPROCESSOR, blocks);
    return error != cudaSuccess
               ? error
               : launch(queue, &scale_sums, blocks, THREADS, 0, sums, count, problem.unit, problem.factor, out);
}

} // namespace

extern "C" int pcsr_cuda_hinge_sums(const Queue* queue, const Matrix* x, const Matrix* y, Arithmetic arithmetic,
                                    const HingeProblem* problem) {
    const Matrix margins{problem->margins, problem->margin_count, 1, 1, nullptr};
    const HingeSums epilogue{problem->groups, problem->own,  problem->margins,  problem->margin_step,
                             problem->shift,  problem->unit, problem->row_sums, problem->column_sums};
    int error = pcsr_cuda_pair_scores(queue, x, y, arithmetic, problem->own);
    error = error ? error : find_largest(*queue, *x, arithmetic, problem->largest);
    error = error ? error : find_largest(*queue, *y, arithmetic, problem->largest + 1);
    error = error ? error : find_largest<float>(*queue, margins, problem->largest + 2);
    error = error ? error
                  : launch(*queue, &choose_unit, 1, 1, 0, static_cast<const unsigned*>(problem->largest), x->rows,
                           problem->unit);
    error = error ? error : walk(*queue, {*x, *y, false}, arithmetic, epilogue);
    error = error ? error : scale(*queue, *problem, problem->row_sums, x->rows, problem->rows);
    return error ? error : scale(*queue, *problem, problem->column_sums, y->rows, problem->columns);
}

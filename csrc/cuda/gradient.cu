// Launches of the backward of the hardest-negative loss (KERNELS 1, K1).
#include "gradient.cuh"
#include "launch.h"

using namespace pcsr::cuda;

namespace {

constexpr int BLOCKS_PER_MULTIPROCESSOR = 16;

template <class T>
cudaError_t run(const Queue& queue, const Matrix& embeddings, const ScatterPlan& plan, void* out) {
    const SideGradient<T> side{static_cast<const T*>(embeddings.data),
                               embeddings.stride,
                               embeddings.rows,
                               embeddings.width,
                               plan.weights,
                               plan.negatives,
                               plan.others,
                               plan.sorted,
                               plan.sources,
                               static_cast<T*>(out)};
    std::int64_t blocks = 0;
    const cudaError_t error = blocks_for(queue, embeddings.rows, 1, BLOCKS_PER_MULTIPROCESSOR, blocks);
    return error != cudaSuccess ? error : launch(queue, &side_gradient<T>, blocks, GRADIENT_THREADS, 0, side);
}

} // namespace

extern "C" int pcsr_cuda_side_gradient(const Queue* queue, const Matrix* embeddings, Type type, const ScatterPlan* plan,
                                       void* out) {
    switch (type) {
    case Type::float32:
        return run<float>(*queue, *embeddings, *plan, out);
    case Type::bfloat16:
        return run<BFloat16>(*queue, *embeddings, *plan, out);
    case Type::float16:
        return run<Float16>(*queue, *embeddings, *plan, out);
    }
    return cudaErrorInvalidValue;
}

// Launches of the mixtures (KERNELS 1, K3).
#include "launch.h"
#include "mixture_float32.cuh"

using namespace pcsr::cuda;

namespace {

constexpr int BLOCKS_PER_MULTIPROCESSOR = 8;
constexpr std::size_t SHARED = MIXTURE_THREADS * sizeof(MixtureSums);

template <class T>
cudaError_t pass(const Queue& queue, const Values& values, const unsigned char* assigned, const MixtureStep& step,
                 const Mixture* state, double* partials, std::int64_t parts) {
    return launch(queue, &mixture_sums<T>, parts, MIXTURE_THREADS, SHARED, static_cast<const T*>(values.data),
                  values.count, assigned, step.kind, state, partials);
}

cudaError_t float32_pass(const Queue& queue, const Values& values, const Mixture* state, double* partials,
                         std::int64_t parts) {
    const auto* data = static_cast<const float*>(values.data);
    const bool aligned = reinterpret_cast<std::uintptr_t>(data) % alignof(float4) == 0;
    return launch(queue, aligned ? &mixture_float32_sums<true> : &mixture_float32_sums<false>, parts, MIXTURE_THREADS,
                  sizeof(Float32Memory), data, values.count, state, partials);
}

cudaError_t any_pass(const Queue& queue, const Values& values, const unsigned char* assigned, const MixtureStep& step,
                     const Mixture* state, double* partials, std::int64_t parts) {
    if (values.wide) {
        return pass<double>(queue, values, assigned, step, state, partials, parts);
    }
    const bool narrow = step.kind == MixtureKind::gaussian && step.stage == MixtureStage::iterate;
    return narrow ? float32_pass(queue, values, state, partials, parts)
                  : pass<float>(queue, values, assigned, step, state, partials, parts);
}

template <class T>
cudaError_t posterior(const Queue& queue, const Values& values, MixtureKind kind, const Mixture* state, double low,
                      double high, double* out) {
    std::int64_t blocks = 0;
    const cudaError_t error = blocks_for(queue, values.count, MIXTURE_THREADS, BLOCKS_PER_MULTIPROCESSOR, blocks);
    return error != cudaSuccess ? error
                                : launch(queue, &mixture_posterior<T>, blocks, MIXTURE_THREADS, 0,
                                         static_cast<const T*>(values.data), values.count, kind, state, low, high, out);
}

} // namespace

extern "C" {

int pcsr_cuda_mixture_pass(const Queue* queue, const Values* values, const unsigned char* assigned,
                           const MixtureStep* step, Mixture* state, double* partials, std::int64_t parts) {
    const cudaError_t error = any_pass(*queue, *values, assigned, *step, state, partials, parts);
    return error != cudaSuccess ? error
                                : launch(*queue, &mixture_step, 1, MIXTURE_THREADS, SHARED,
                                         static_cast<const double*>(partials), parts, *step, state);
}

int pcsr_cuda_mixture_posterior(const Queue* queue, const Values* values, MixtureKind kind, const Mixture* state,
                                double low, double high, double* out) {
    return values->wide ? posterior<double>(*queue, *values, kind, state, low, high, out)
                        : posterior<float>(*queue, *values, kind, state, low, high, out);
}

int pcsr_cuda_two_means(const Queue* queue, const double* sorted, const double* sums, std::int64_t count, int steps,
                        double* centres) {
    return launch(*queue, &two_means, 1, 1, 0, sorted, sums, count, steps, centres);
}
}

// The C interface of the CUDA kernels: raw device pointers, sizes and a stream in, a CUDA error code out (0: all is
// well). Nothing waits for the device and nothing is allocated: every output and workspace is the caller's.
#pragma once

#include "parameters.h"

namespace pcsr::cuda {

// Where work is queued: a device's number and a cudaStream_t of it.
struct Queue {
    int device;
    void* stream;
};

// What a search for the hardest negatives reads and writes; groups, margins and own may be null.
struct HardestSearch {
    const std::int64_t* row_groups;
    const std::int64_t* column_groups;
    const float* margins;
    std::int64_t margin_stride;
    Shift shift;
    Key* row_keys; // zeros; so are those of the columns
    Key* column_keys;
    float* own;
    float* row_values;
    std::int64_t* row_indices;
    float* column_values;
    std::int64_t* column_indices;
};

// How one side's gradients are gathered from the embeddings of the other; see SideGradient in
// kernels/cuda/gradient.cuh.
struct ScatterPlan {
    const float* weights;
    const std::int32_t* negatives;
    const float* others;
    const std::int32_t* sorted;
    const std::int64_t* sources;
};

// Sums of hinges along rows and columns, times `factor`; see HingeSums in kernels/cuda/hinge.cuh.
struct HingeProblem {
    const std::int64_t* groups;
    const float* margins;
    std::int64_t margin_count; // of all of them, to find the largest
    std::int64_t margin_step;
    Shift shift;
    double factor;
    unsigned* largest; // three zeros
    double* unit;
    float* own;
    unsigned long long* row_sums; // zeros; so are those of the columns
    unsigned long long* column_sums;
    float* rows;
    float* columns;
};

// Ranks of both directions; see RankCounts in kernels/cuda/ranks.cuh.
struct RankProblem {
    const std::int64_t* image_of_text;
    Ties ties;
    Key* best; // zeros, and stays 0 where an image has no caption
    float* own;
    unsigned long long* image_ranks; // zeros; so are those of the texts
    unsigned long long* text_ranks;
};

// Values of a mixture: float32, or float64.
struct Values {
    const void* data;
    std::int64_t count;
    bool wide;
};

} // namespace pcsr::cuda

extern "C" {

int pcsr_cuda_hardest(const pcsr::cuda::Queue* queue, const pcsr::cuda::Matrix* x, const pcsr::cuda::Matrix* y,
                      pcsr::cuda::Arithmetic arithmetic, const pcsr::cuda::HardestSearch* search);

int pcsr_cuda_side_gradient(const pcsr::cuda::Queue* queue, const pcsr::cuda::Matrix* embeddings, pcsr::cuda::Type type,
                            const pcsr::cuda::ScatterPlan* plan, void* out);

int pcsr_cuda_hinge_sums(const pcsr::cuda::Queue* queue, const pcsr::cuda::Matrix* x, const pcsr::cuda::Matrix* y,
                         pcsr::cuda::Arithmetic arithmetic, const pcsr::cuda::HingeProblem* problem);

int pcsr_cuda_ranks(const pcsr::cuda::Queue* queue, const pcsr::cuda::Matrix* x, const pcsr::cuda::Matrix* y,
                    pcsr::cuda::Arithmetic arithmetic, const pcsr::cuda::RankProblem* problem);

// scores[i] = x_i . y_i as the tiles of a whole product sum them.
int pcsr_cuda_pair_scores(const pcsr::cuda::Queue* queue, const pcsr::cuda::Matrix* x, const pcsr::cuda::Matrix* y,
                          pcsr::cuda::Arithmetic arithmetic, float* scores);

// One pass over the values and the step that follows it; `assigned` may be null, `partials` holds `parts` times 7
// numbers.
int pcsr_cuda_mixture_pass(const pcsr::cuda::Queue* queue, const pcsr::cuda::Values* values,
                           const unsigned char* assigned, const pcsr::cuda::MixtureStep* step,
                           pcsr::cuda::Mixture* state, double* partials, std::int64_t parts);
int pcsr_cuda_mixture_posterior(const pcsr::cuda::Queue* queue, const pcsr::cuda::Values* values,
                                pcsr::cuda::MixtureKind kind, const pcsr::cuda::Mixture* state, double low, double high,
                                double* out);
int pcsr_cuda_two_means(const pcsr::cuda::Queue* queue, const double* sorted, const double* sums, std::int64_t count,
                        int steps, double* centres);

// Devices that can be used, and what CUDA says if there is none.
int pcsr_cuda_devices(int* count);
const char* pcsr_cuda_message(int error);
// "cuda", or "cpu" where the kernels are emulated: what kind of memory they read.
const char* pcsr_cuda_device_type();
}

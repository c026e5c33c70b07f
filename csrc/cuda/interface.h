// The C interface of the CUDA kernels: raw device pointers, sizes and a stream in, a CUDA error code out (0: all is well).
// Nothing waits for the device and nothing is allocated: every output and workspace is the caller's.
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

} // namespace pcsr::cuda

extern "C" {

int pcsr_cuda_hardest(const pcsr::cuda::Queue* queue, const pcsr::cuda::Matrix* x, const pcsr::cuda::Matrix* y,
                      pcsr::cuda::Arithmetic arithmetic, const pcsr::cuda::HardestSearch* search);

// Devices that can be used, and what CUDA says if there is none.
int pcsr_cuda_devices(int* count);
const char* pcsr_cuda_message(int error);
// "cuda", or "cpu" where the kernels are emulated: what kind of memory they read.
const char* pcsr_cuda_device_type();
}

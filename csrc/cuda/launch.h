// How every launcher reaches its device: the caller's device and stream, a checked launch, never a wait.
#pragma once

#include "interface.h"

#include <cuda_runtime.h>

namespace pcsr::cuda {

// The calling thread on the queue's device for as long as this lives.
class OnDevice {
public:
    explicit OnDevice(const Queue& queue) {
        error_ = cudaGetDevice(&before_);
        if (error_ == cudaSuccess && before_ != queue.device) {
            error_ = cudaSetDevice(queue.device);
            moved_ = error_ == cudaSuccess;
        }
    }
    ~OnDevice() {
        if (moved_) {
            cudaSetDevice(before_);
        }
    }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;
    cudaError_t error() const { return error_; }

private:
    int before_ = 0;
    bool moved_ = false;
    cudaError_t error_;
};

constexpr std::size_t SHARED_WITHOUT_ASKING = 48 << 10;

// Blocks in `clusters` of SIZE, which reach each other's shared memory.
template <int SIZE, class... Parameters, class... Arguments>
cudaError_t launch_clusters(const Queue& queue, void (*kernel)(Parameters...), std::int64_t clusters, int threads,
                            std::size_t shared, const Arguments&... arguments) {
    if (clusters == 0) {
        return cudaSuccess;
    }
    const OnDevice here(queue);
    if (here.error() != cudaSuccess) {
        return here.error();
    }
    if (shared > SHARED_WITHOUT_ASKING) {
        const cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                       cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared));
        if (error != cudaSuccess) {
            return error;
        }
    }
    const std::int64_t blocks = clusters * SIZE;
#ifdef __CUDACC__
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = SIZE;
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared;
    config.stream = static_cast<cudaStream_t>(queue.stream);
    config.attrs = &attribute;
    config.numAttrs = SIZE > 1; // older devices know no clusters
    cudaLaunchKernelEx(&config, kernel, arguments...);
#else
    emulation::launch(blocks, threads, shared, [&] { kernel(arguments...); }, SIZE);
#endif
    return cudaGetLastError();
}

template <class... Parameters, class... Arguments>
cudaError_t launch(const Queue& queue, void (*kernel)(Parameters...), std::int64_t blocks, int threads,
                   std::size_t shared, const Arguments&... arguments) {
    return launch_clusters<1>(queue, kernel, blocks, threads, shared, arguments...);
}

inline cudaError_t multiprocessors(const Queue& queue, int& count) {
    return cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, queue.device);
}

// Blocks for a loop over `count` items of which each block takes `each` at a time, at most `most` a multiprocessor.
inline cudaError_t blocks_for(const Queue& queue, std::int64_t count, std::int64_t each, int most,
                              std::int64_t& blocks) {
    int available = 0;
    const cudaError_t error = multiprocessors(queue, available);
    const std::int64_t wanted = (count + each - 1) / each, limit = static_cast<std::int64_t>(most) * available;
    blocks = wanted < limit ? wanted : limit;
    return error;
}

} // namespace pcsr::cuda

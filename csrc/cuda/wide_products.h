// Launches of the walk over tiles on sm_90a, where it is built and the rows suit (kernels/cuda/wide_tile.cuh).
#pragma once

#include "launch.h"
#include "wide_tile.cuh"

namespace pcsr::cuda {

#if defined(PCSR_SM90A) || !defined(__CUDACC__)
constexpr bool WIDE_IS_BUILT = true;
#else
constexpr bool WIDE_IS_BUILT = false;
#endif
constexpr int BOX_COLUMNS = SWIZZLE_BYTES / 2;

inline bool suits_boxes(const Matrix& side) {
    const auto bytes = reinterpret_cast<std::uintptr_t>(side.data) | static_cast<std::uintptr_t>(side.stride) * 2;
    return bytes % CHUNK == 0 && side.stride >= side.width && side.width >= BOX_COLUMNS && !side.rows_of;
}

// Whether the device is of compute capability 9.0 and the problem is one for `walk_wide`.
inline cudaError_t suits_wide(const Queue& queue, const Product& product, Arithmetic arithmetic, bool& suits) {
    suits = WIDE_IS_BUILT && (arithmetic == Arithmetic::bfloat16 || arithmetic == Arithmetic::float16) &&
            suits_boxes(product.x) && suits_boxes(product.y) && product.x.rows > 0 && product.y.rows > 0;
    int major = 0, minor = 0;
    cudaError_t error = cudaSuccess;
    if (suits) {
        error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, queue.device);
    }
    if (suits && error == cudaSuccess) {
        error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, queue.device);
    }
    suits = suits && major == 9 && minor == 0;
    return error;
}

// The driver's function that describes tensors, found at run time: this library links no driver.
inline cudaError_t find_encoder(decltype(&cuTensorMapEncodeTiled)& encoder) {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult outcome;
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &outcome);
    encoder = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found);
    return error == cudaSuccess && outcome != cudaDriverEntryPointSuccess ? cudaErrorSymbolNotFound : error;
}

inline cudaError_t describe(const Matrix& side, Arithmetic arithmetic, cuuint32_t box_rows, CUtensorMap& map) {
    decltype(&cuTensorMapEncodeTiled) encoder = nullptr;
    const cudaError_t error = find_encoder(encoder);
    if (error != cudaSuccess) {
        return error;
    }
    const auto type =
        arithmetic == Arithmetic::bfloat16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(side.width), static_cast<cuuint64_t>(side.rows)};
    const cuuint64_t strides[1] = {static_cast<cuuint64_t>(side.stride) * 2};
    const cuuint32_t box[2] = {BOX_COLUMNS, box_rows}, steps[2] = {1, 1};
    const CUresult result =
        encoder(&map, type, 2, const_cast<void*>(side.data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

// As `walk`, of a product that `suits_wide`.
template <class Epilogue>
cudaError_t walk_wide(const Queue& queue, const Product& product, Arithmetic arithmetic, const Epilogue& epilogue) {
    const std::int64_t down = (product.x.rows + TILE - 1) / TILE, across = (product.y.rows + TILE - 1) / TILE;
    const std::int64_t groups = (down + WIDE_CLUSTER - 1) / WIDE_CLUSTER * across;
    const auto kernel = arithmetic == Arithmetic::bfloat16 ? &walk_wide_tiles<wgmma_bf16, Epilogue>
                                                           : &walk_wide_tiles<wgmma_f16, Epilogue>;
    CUtensorMap x, y;
    std::int64_t clusters = 0;
    cudaError_t error = describe(product.x, arithmetic, TILE, x);
    error = error == cudaSuccess ? describe(product.y, arithmetic, PART_ROWS, y) : error;
    error = error == cudaSuccess ? blocks_for(queue, groups, 1, WIDE_BLOCKS_PER_SM / WIDE_CLUSTER, clusters) : error;
    return error != cudaSuccess
               ? error
               : launch_clusters<WIDE_CLUSTER>(queue, kernel, clusters, WIDE_THREADS, sizeof(WideMemory<Epilogue>), x,
                                               y, product, groups, epilogue);
}

} // namespace pcsr::cuda

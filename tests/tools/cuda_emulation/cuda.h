// Stands in for CUDA's header of this name: what describes tensors to be copied by boxes, with the rules of the driver.
#pragma once

#include <cstdint>

using cuuint32_t = std::uint32_t;
using cuuint64_t = std::uint64_t;

enum CUresult { CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1 };
enum CUtensorMapDataType { CU_TENSOR_MAP_DATA_TYPE_FLOAT16 = 6, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 = 9 };
enum CUtensorMapInterleave { CU_TENSOR_MAP_INTERLEAVE_NONE = 0 };
enum CUtensorMapSwizzle { CU_TENSOR_MAP_SWIZZLE_128B = 3 };
enum CUtensorMapL2promotion { CU_TENSOR_MAP_L2_PROMOTION_L2_256B = 3 };
enum CUtensorMapFloatOOBfill { CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE = 0 };

// Two dimensions of 16-bit values, in 128 swizzled bytes a row of a box.
struct CUtensorMap {
    const unsigned char* data;
    std::int64_t columns, rows, row_bytes;
    int box_rows;
};

inline CUresult cuTensorMapEncodeTiled(CUtensorMap* map, CUtensorMapDataType, cuuint32_t rank, void* data,
                                       const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                                       const cuuint32_t* steps, CUtensorMapInterleave, CUtensorMapSwizzle,
                                       CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
    const bool aligned = reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && strides[0] % 16 == 0;
    const bool small = box[0] * 2 <= 128 && box[1] <= 256 && strides[0] < 1ull << 40;
    const bool some = sizes[0] > 0 && sizes[1] > 0 && sizes[0] <= 1ull << 32 && sizes[1] <= 1ull << 32;
    if (rank != 2 || !aligned || !small || !some || strides[0] < sizes[0] * 2 || steps[0] != 1 || steps[1] != 1) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    *map = {static_cast<const unsigned char*>(data), static_cast<std::int64_t>(sizes[0]),
            static_cast<std::int64_t>(sizes[1]), static_cast<std::int64_t>(strides[0]), static_cast<int>(box[1])};
    return CUDA_SUCCESS;
}

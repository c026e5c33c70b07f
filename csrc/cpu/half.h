// Products of embeddings rounded to bfloat16, summed in float32: what screens the hardest negatives (KERNELS 1).
#pragma once

#include "product.h"

namespace pcsr {

using HalfKernels = ProductKernels<float, std::uint16_t>;

// How packed rows and columns lie is each kernel's own.
namespace avx512_bf16 {
extern const HalfKernels products;
}
namespace amx {
extern const HalfKernels products;
}

} // namespace pcsr

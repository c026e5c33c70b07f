// Products nearly as exact as float32 from bfloat16 units: each number is a sum of two bfloat16, 16 bits of mantissa,
// and the product of the two small parts, below 2^-16 of the whole, is left out.
#pragma once

#include "product.h"

namespace pcsr {

// A number's share of the memory; how high and low parts lie is the kernel's own.
struct Split {
    std::uint16_t parts[2];
};

using SplitKernels = ProductKernels<float, Split>;

namespace amx {
extern const SplitKernels split_products; // of float32 matrices
}

} // namespace pcsr

// How far scores of embeddings rounded to bfloat16 can be from those computed in float32 (KERNELS 1).
#pragma once

#include "half.h"
#include "screen.h"

#include <vector>

namespace pcsr {

// Whether this machine multiplies bfloat16, and what does it best.
bool has_half();
const HalfKernels& half_kernels();

// Whether a screen pays for scores of these sizes, by measurement.
bool worth_screening(const Matrix& x, const Matrix& y);

// For each row of x and of y a bound on |s^ - s| with any row of the other side, s^ in bfloat16 and s in float32 with
// margins of at most `margin` added. Not `valid` where values are not finite or nearly overflow.
struct ErrorBounds {
    ErrorBounds(const Matrix& x, const Matrix& y, double margin);
    bool valid;
    std::vector<double> rows;
    std::vector<double> columns;
};

} // namespace pcsr

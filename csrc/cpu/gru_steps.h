// The recurrence of a GRU over packed sequences and its gradient, in float32 (METHODS 2.1): what depends on the step
// before. The products that do not are the caller's.
#pragma once

#include "types.h"

namespace pcsr {

// One direction of one layer: rows of all steps lie below one another in the order of time, captions of a step from
// the longest on.
struct GruDirection {
    const std::int64_t* counts; // captions of each step, never rising
    std::int64_t steps;
    bool reverse;  // the last step comes first
    Matrix weight; // of the state: (3 h, h), of r, z and n
};

// gates (rows, 4 h) hold the input parts of n, r and z; they become n, r, z and n's hidden part. before and hidden
// (rows, h): the states before and after each step. Results do not depend on the number of threads.
void gru_forward(const GruDirection& direction, const float* bias, float* gates, float* before, float* hidden);

// found (rows, 4 h): gradients of what n, r and z are functions of, and of n's hidden part.
void gru_backward(const GruDirection& direction, const Matrix& upstream, const float* gates, const float* before,
                  float* found);

} // namespace pcsr

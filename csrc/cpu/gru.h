// One time step of a GRU over packed sequences, but for its matrix products (METHODS 2.1). Rows are captions, the
// longest first. A row of gates holds `size` values each of n's input part, r, z and n's hidden part.
#pragma once

#include "attention_rows.h"

namespace pcsr {

// Pointers are to the first of some rows of a step: contiguous rows of `size` or, of gates, 4 * `size` values.
struct GruForward {
    std::int64_t rows;
    std::int64_t size;
    const float* bias; // of the hidden parts of r, z and n
    float* gates;      // read: the input parts, those of r and z in their places; written: all
    float* before;     // the states before this step, for gradients
    float* hidden;
    Rows state; // overwritten; of captions that begin here it is 0
    // What the weights of r, z and n make of the state, of the first `known` rows; the others' state is 0.
    Rows products;
    std::int64_t known;
};

struct GruBackward {
    std::int64_t rows;
    std::int64_t size;
    const float* upstream;
    std::int64_t upstream_stride;
    const float* gates;
    const float* before;
    float* found;  // gradients of the gates' parts before their functions
    Rows carried;  // gradient of the state: after this step, overwritten by that before it without the products'
    Rows of_parts; // the gradients of r, z and n's hidden part again
};

struct GruKernels {
    void (*forward)(const GruForward& step);
    void (*backward)(const GruBackward& step);
};

} // namespace pcsr

PCSR_DECLARE_TABLE(GruKernels, gru)

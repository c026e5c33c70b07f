// Scores of some pairs by cross-attention, and gradients of such scores, in float32 (METHODS 2.1; KERNELS 1, K4).
#pragma once

#include "attention_pairs.h"

namespace pcsr {

// Gradients, contiguous and of the shapes of what they belong to: see CrossAttention and Reasoning.
struct ReasoningGradient {
    float* regions;
    float* words;
    float* images;
    float* captions;
    float* local;
    float* global;
    float* graph;
    float* vectors;
    float* output_bias;
};

// out[p] is the score of pair p: a sum never depends on other pairs, nor on the number of threads.
void sgr_pairs(const CrossAttention& problem, const Reasoning& weights, const Pairs& pairs, float* out);
// Gradients of sum_p upstream[p] score[p]; pairs whose upstream is 0 are left out. Memory does not grow with the pairs.
void sgr_gradient(const CrossAttention& problem, const Reasoning& weights, const Pairs& pairs,
                  const ReasoningGradient& out);

void scan_pairs(const CrossAttention& problem, float sharpness, const Pairs& pairs, float* out);
void scan_gradient(const CrossAttention& problem, float sharpness, const Pairs& pairs, float* regions, float* words);

} // namespace pcsr

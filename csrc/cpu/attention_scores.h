// Similarities of images with captions by cross-attention: SGR and SCAN, text to image (METHODS 2.1; KERNELS 1, K4).
#pragma once

#include "search.h"
#include "types.h"

namespace pcsr {

constexpr float sgr_sharpness = 9; // of the attention over regions; SCAN is given its own

// Regions (images * each, d) and words (captions * longest, d) in float32, of which the first lengths[c] are valid.
struct CrossAttention {
    Matrix regions;
    std::int64_t each;
    Matrix words;
    std::int64_t longest;
    const std::int64_t* lengths;

    std::int64_t images() const { return regions.rows / each; }
    std::int64_t captions() const { return words.rows / longest; }
};

// Global vectors (B, d) and (C, d), and what is learnt. `graph` (steps * 2 s, s) holds W_k' W_q, then W_s of each step;
// `vectors` (3 + 2 * steps, s) the biases of local and global nodes, of each step W_k' b_q, then the bias of W_s, and
// the weights of the output.
struct Reasoning {
    Matrix images;
    Matrix captions;
    Matrix local;
    Matrix global;
    Matrix graph;
    Matrix vectors;
    float output_bias;

    std::int64_t size() const { return local.rows; }
    std::int64_t steps() const { return graph.rows / (2 * size()); }
    const float* vector(std::int64_t row) const { return static_cast<const float*>(vectors.data) + row * size(); }
    const float* tilt(std::int64_t step) const { return vector(2 + 2 * step); }
    const float* update_bias(std::int64_t step) const { return vector(3 + 2 * step); }
};

// out (images, captions). exact: products in float32. bf16: of numbers rounded to bfloat16, where the machine has them.
// automatic: of float32 numbers split in two bfloat16 (attention_split.h) on machines with AMX where that pays, else
// exact.
void sgr_scores(const CrossAttention& problem, const Reasoning& weights, Precision precision, float* out);
void scan_scores(const CrossAttention& problem, float sharpness, Precision precision, float* out);

} // namespace pcsr

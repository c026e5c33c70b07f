// Contrastive losses of S = x y^T and their gradients in O(N) memory (METHODS 7, 8; equations in
// pcsr_fast/reference/contrastive.py).
#pragma once

#include "search.h"
#include "types.h"

namespace pcsr {

enum class Contrast : int { infonce, rce, ccl_log, ccl_tan, ccl_gce, gce_infonce, tal };

struct ContrastiveOptions {
    Contrast kind;
    double temperature;
    double q;
    double margin;
};

// What the forward pass leaves for the backward one, numbers a direction (rows, then columns), one of each a pair:
// largest score, second largest and sum exp((s - second) / tau) without the largest, in the softmax (tal: of
// negatives); the pair's own score (tal: the largest of its id), and two of the kind's own.
constexpr int contrastive_statistics = 6;

// Per-sample losses (N) of x (N, D) and y (N, D), and statistics (2, contrastive_statistics, N).
template <typename T>
void contrastive_loss(const Matrix& x, const Matrix& y, const Groups& groups, const ContrastiveOptions& options,
                      T* losses, T* statistics);

// dL/dx and dL/dy (N, D), contiguous, from dL/dloss (N).
template <typename T>
void contrastive_gradient(const Matrix& x, const Matrix& y, const Groups& groups, const ContrastiveOptions& options,
                          const T* upstream, const T* statistics, T* dx, T* dy);

} // namespace pcsr

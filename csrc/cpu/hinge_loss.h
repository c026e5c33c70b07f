// Hinge losses with mean, sum or top-k negatives, and their gradients, in memory linear in the batch.
#pragma once

#include "search.h"

namespace pcsr {

// `top` 0: the sum over all negatives times `weight`; else the mean of the `top` largest.
template <typename T>
struct HingeProblem {
    Matrix x;
    Matrix y;
    const std::int64_t* groups; // of both sides, or null
    Margins<T> shift;           // margins that go into the scores before they are compared
    const T* row_margin;        // and those that do not, or null
    const T* column_margin;
    std::int64_t top;
    double weight;
    Matrix ready = nothing; // scores (B, B) that are there already; x and y (B, 0) then give no more than the size
};

// Row part and column part of each sample's loss (B,).
template <typename T>
void hinge_loss(const HingeProblem<T>& problem, T* row, T* column);

// dx, dy (B, D) from upstream gradients (B,) of both parts. `sums` (4, B): what row hinges and column hinges weigh in
// each row, then in each column. `matrix` (B, B) or null: dL/d(shifted score) off the diagonal.
template <typename T>
void hinge_gradient(const HingeProblem<T>& problem, const T* by_row, const T* by_column, T* dx, T* dy, double* sums,
                    T* matrix);

// dS off the diagonal (B, B), contiguous, of ready-made scores, and `own` (B,): what leaves each pair's own score.
template <typename T>
void hinge_score_gradient(const HingeProblem<T>& problem, const T* by_row, const T* by_column, T* dS, double* own);

} // namespace pcsr

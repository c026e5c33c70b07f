// The hardest negative of every row and every column of S = x y^T (KERNELS 1, K1).
#pragma once

#include "types.h"

namespace pcsr {

// Added to the scores before they are compared: nothing, one a row, one a column, or a matrix of `stride`.
enum class Shift : int { none = 0, row = 1, column = 2, matrix = 3 };
template <typename T>
struct Margins {
    Shift shift;
    const T* values;
    std::int64_t stride;
};

// Ids as callers have them; null: a row's or column's own number.
struct Groups {
    const std::int64_t* rows;
    const std::int64_t* columns;
};

// Largest value and its place for every row and column, -infinity and -1 without a negative; the lowest place on ties.
// `own` (may be null) takes the scores of pairs with equal numbers, before any margin.
template <typename T>
struct Hardest {
    T* row_values;
    std::int64_t* row_indices;
    T* column_values;
    std::int64_t* column_indices;
    T* own;
};

// exact: scores as computed in T. bf16: of inputs rounded to bfloat16. screened: the exact answer, to the bit, of which
// only what bfloat16 scores cannot rule out is computed in T. automatic: screened where that pays.
enum class Precision { exact, bf16, screened, automatic };

template <typename T>
void find_hardest(const Matrix& x, const Matrix& y, const Groups& groups, const Margins<T>& margins,
                  Precision precision, const Hardest<T>& out);

// The same for scores (N, M) that are there already.
template <typename T>
void find_hardest_of_scores(const Matrix& scores, const Groups& groups, const Margins<T>& margins,
                            const Hardest<T>& out);

// dx, dy (B, D) of the hardest-negative loss, zero-filled here: `by_row` and `by_column` (B,) are the upstream
// gradients of the active hinges, the indices those found, anything where the upstream is 0. No product: rows are
// gathered and scattered, in the order of the pairs whatever the number of threads.
template <typename T>
void hardest_gradient(const Matrix& x, const Matrix& y, const T* by_row, const T* by_column,
                      const std::int64_t* row_indices, const std::int64_t* column_indices, T* dx, T* dy);

} // namespace pcsr

// Products of packed embeddings: the blocks of S = x y^T that every op reduces (KERNELS 1, 2).
#pragma once

#include "dispatch.h"
#include "types.h"

namespace pcsr {

// Blocks of scores T from packed inputs P. In T itself every score is one chain of products and sums over the width in
// rising order, whatever its place in a block: the same bits for any blocking, and from `dots` too.
template <typename T, typename P = T>
struct ProductKernels {
    int panel_rows;
    int panel_columns;
    int depth_step; // packed inputs are padded to a multiple of this
    int row_gap;    // and rows lie this much further apart
    // Rows first..first+count of a matrix as panels of panel_rows (panel_columns), zeros beyond.
    void (*pack_rows)(const Matrix& from, std::int64_t first, std::int64_t count, P* out);
    void (*pack_columns)(const Matrix& from, std::int64_t first, std::int64_t count, P* out);
    // scores[row][column] of `row_panels` panels of rows and one of columns; `stride` from one row to the next.
    void (*multiply)(const P* rows, std::int64_t row_panels, const P* columns, std::int64_t width, T* scores,
                     std::int64_t stride);
};

template <typename T>
struct DotKernels {
    // out[n] = x[rows[n]] . y[columns[n]], n < count.
    void (*dots)(const Matrix& x, const std::int64_t* rows, const Matrix& y, const std::int64_t* columns,
                 std::int64_t count, T* out);
};

// What gradients need beside: the same panels of a matrix read the other way, and sums.
template <typename T>
struct GradientKernels {
    // Columns first..first+count of a matrix as panels of panel_rows (panel_columns): out[panel][row][column], zeros
    // beyond.
    void (*pack_rows)(const Matrix& from, std::int64_t first, std::int64_t count, T* out);
    void (*pack_columns)(const Matrix& from, std::int64_t first, std::int64_t count, T* out);
    // to[row][column] += scores[row][column], both with a stride of their own.
    void (*add)(const Block<T>& scores, T* to, std::int64_t stride);
    // to[k] += weight * from[row][first + k], k < count.
    void (*add_row)(const Matrix& from, std::int64_t row, std::int64_t first, std::int64_t count, T weight, T* to);
};

} // namespace pcsr

PCSR_DECLARE_TABLE(ProductKernels<float>, products_f32)
PCSR_DECLARE_TABLE(ProductKernels<float>, short_products_f32) // the same with panels of fewer rows
PCSR_DECLARE_TABLE(ProductKernels<double>, products_f64)
PCSR_DECLARE_TABLE(DotKernels<float>, dots_f32)
PCSR_DECLARE_TABLE(DotKernels<double>, dots_f64)
PCSR_DECLARE_TABLE(GradientKernels<float>, gradients_f32)
PCSR_DECLARE_TABLE(GradientKernels<double>, gradients_f64)

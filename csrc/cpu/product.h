// Products of packed embeddings: the blocks of S = x y^T that every op reduces (KERNELS 1, 2).
#pragma once

#include "dispatch.h"
#include "types.h"

namespace pcsr {

// Every score is one chain of products and sums over the width in rising order, whatever its place in a block: the same
// bits for any blocking, and from `dots` too.
template <typename T> struct ProductKernels {
    int panel_rows;
    int panel_columns;
    // Rows first..first+count of a matrix as panels of `panel` rows: out[row / panel][k][row % panel], zeros beyond.
    void (*pack)(const Matrix& from, std::int64_t first, std::int64_t count, int panel, T* out);
    // scores[row][column] of `row_panels` panels of rows and one of columns; `stride` from one row to the next.
    void (*multiply)(const T* rows, std::int64_t row_panels, const T* columns, std::int64_t width, T* scores,
                     std::int64_t stride);
    // out[n] = x[row] . y[columns[n]], n < count.
    void (*dots)(const Matrix& x, std::int64_t row, const Matrix& y, const std::int64_t* columns, std::int64_t count,
                 T* out);
};

} // namespace pcsr

PCSR_DECLARE_TABLE(ProductKernels<float>, products_f32)
PCSR_DECLARE_TABLE(ProductKernels<double>, products_f64)

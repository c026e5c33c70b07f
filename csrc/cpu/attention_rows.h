// Cross-attention and its gradient with words and nodes as rows (METHODS 2.1; KERNELS K4): rows of any pairs lie below
// one another, and the pairs of a caption and an image need no padding. Widths are whole panels, zeros beyond a matrix.
#pragma once

#include "dispatch.h"

#include <cstdint>

namespace pcsr {

// Neighbouring rows, `stride` apart.
struct Rows {
    float* data;
    std::int64_t stride;
    std::int64_t count;
    std::int64_t width;

    float* row(std::int64_t n) const { return data + n * stride; }
    Rows part(std::int64_t first, std::int64_t rows) const { return {row(first), stride, rows, width}; }
};

// to[row][column] = (+= if `adds`) sum over k < depth of a[k][row] * b[k][column] for `rows` of a panel at most. Whole
// vectors of columns are written, and whole panels read.
struct RowProduct {
    const float* a;
    std::int64_t a_step;
    const float* b;
    std::int64_t b_step;
    std::int64_t depth;
    float* to;
    std::int64_t stride;
    std::int64_t rows;
    std::int64_t columns;
    bool adds;
};

// Gradients are written over what they are computed from where one name serves both.
struct RowKernels {
    int panel_rows;
    int panel_columns;
    // Rows as [width][panel_rows], zeros beyond their count; as many values more may be written.
    void (*pack)(const Rows& from, float* out);
    void (*multiply)(const RowProduct& product);
    // out[x][y] = x . y, `stride` from one x to the next.
    void (*dots)(const Rows& x, const Rows& y, float* out, std::int64_t stride);
    // Weights of the regions for each word of a caption, and the gradient of the scores from that of the weights.
    void (*focus)(const Rows& scores, float sharpness, const Rows& weights);
    void (*focus_back)(const Rows& scores, float sharpness, const Rows& weights, const Rows& gradient);
    // out = (l2norm(contexts) - words)^2; its gradient becomes that of the contexts, beside that of the words.
    void (*differ)(const Rows& contexts, const Rows& words, const Rows& out);
    void (*differ_back)(const Rows& contexts, const Rows& words, const Rows& gradient, const Rows& words_gradient);
    // rows += bias, out = l2norm(rows); the gradient of out becomes that of rows.
    void (*unit)(const Rows& rows, const float* bias, const Rows& out);
    void (*unit_back)(const Rows& rows, const Rows& gradient);
    // rows = relu(rows + bias), or rows + bias; gradients of what relu gave.
    void (*rectify)(const Rows& rows, const float* bias);
    void (*rectify_back)(const Rows& rows, const Rows& gradient);
    void (*shift)(const Rows& rows, const float* bias);
    // The softmax of each row, and the gradient of its logits from that of its results.
    void (*soften)(const Rows& rows);
    void (*soften_back)(const Rows& rows, const Rows& gradient);
    // out = (a - b)^2 of one row; the gradient of out becomes that of a.
    void (*differ_globals)(const float* a, const float* b, std::int64_t width, float* out);
    // Of SCAN: cosines of words and contexts from scores, weights and products G weights, G = V V^T.
    void (*cosines)(const Rows& scores, const Rows& weights, const Rows& products, const Rows& words, float* out);
    // With the gradient `slope` of each cosine: that of the weights, of the words, of the scores (`slopes` times the
    // weights), and of G: twice the sum of its products' rows times the weights.
    void (*cosines_back)(const Rows& scores, const Rows& weights, const Rows& products, const Rows& words, float slope,
                         const Rows& gradient, const Rows& words_gradient, float* slopes);
    void (*differ_globals_back)(const float* a, const float* b, std::int64_t width, float* gradient);
};

} // namespace pcsr

PCSR_DECLARE_TABLE(RowKernels, attention_rows)

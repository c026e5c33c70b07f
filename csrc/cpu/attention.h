// Cross-attention of words over regions and reasoning on the graph of what it finds (METHODS 2.1; KERNELS 1, K4).
// Nodes of captions lie side by side as columns of panels, the global node of each before its words. Every sum over
// regions, dimensions or nodes is then one of whole vectors, and what one product leaves is what the next one reads.
#pragma once

#include "attention_split.h"
#include "dispatch.h"
#include "types.h"

namespace pcsr {

// The columns of one caption: `count` nodes, of which the first is the global one.
struct Segment {
    std::int64_t first;
    std::int64_t count;
};

// One step of reasoning on a chunk: rows [size][stride], and room to work in.
struct GraphStep {
    float* nodes;          // E, overwritten by what softmax(edges) E W_s^T is
    const float* products; // `size` rows of M^T E, then as many of W_s E
    std::int64_t stride;
    std::int64_t size;
    const float* tilts; // u . e of each node
    float* edges;       // of one caption, `edge_lanes` times as many as it has nodes, rounded up
};

// The last step, of one global node: its column of queries, and where the mixture of nodes goes.
struct LastStep {
    const float* nodes;
    std::int64_t stride;
    std::int64_t size;
    const float* tilts;
    const float* query;
    float* mixture;
    std::int64_t pair_stride; // of queries and mixtures
    float* edges;
};

// What reads and writes float32 only. A panel is as wide as those of the products.
struct AttentionKernels {
    int slack; // values that may be read beyond a row, and rows beyond a matrix that may be written
    // focused[region][word] = sharpness * l2norm over the words of each caption(leakyrelu(scores)); other columns stay.
    void (*focus)(const float* scores, float* focused, std::int64_t stride, std::int64_t regions,
                  const Segment* segments, std::int64_t count, float sharpness);
    // out[k][caption] = (image[k] - captions[k][caption])^2.
    void (*differ_globals)(const float* image, const float* captions, std::int64_t caption_stride, std::int64_t count,
                           std::int64_t width, float* out, std::int64_t stride);
    // Each column of a panel becomes l2norm(column + bias).
    void (*unit)(float* rows, std::int64_t stride, std::int64_t depth, const float* bias);
    void (*reason)(const GraphStep& step, const Segment& segment);
    void (*answer)(const LastStep& step, const Segment& segment);
    // out[column] = sigmoid(weights . relu(column + bias) + output_bias) of a panel.
    void (*conclude)(const float* rows, std::int64_t stride, std::int64_t depth, const float* bias,
                     const float* weights, float output_bias, float* out);
    // out[column] = cosine of the word and its context: sums of weights * scores and weights * (G weights), G = V V^T,
    // over a panel [region][column] of each; `totals` are the sums of the weights, `squares` those of the words.
    void (*cosines)(const float* scores, const float* weights, std::int64_t stride, const float* products,
                    std::int64_t regions, const float* totals, const float* squares, float* out);
};

// What leaves a panel of columns [depth][column] as the products of P read it. `group`: columns side by side in
// packed bfloat16, see half_pack.h.
template <typename P>
struct PanelKernels {
    // focused becomes exp(focused - its column's largest); totals are the sums of the columns.
    void (*attend)(float* focused, std::int64_t stride, std::int64_t regions, int group, P* weights, float* totals);
    // (l2norm(contexts / totals) - words)^2.
    void (*differ)(const float* contexts, const float* words, const float* totals, std::int64_t width, int group,
                   P* out);
    // As they are, or relu(rows + bias), in place too; tilts[column] = u . column, if u is not null.
    void (*settle)(float* rows, std::int64_t stride, std::int64_t depth, const float* bias, const float* u,
                   float* tilts, int group, P* out);
};

} // namespace pcsr

PCSR_DECLARE_TABLE(AttentionKernels, attention)
PCSR_DECLARE_TABLE(PanelKernels<float>, panels_f32)
#ifdef PCSR_X86
namespace pcsr::avx512 {
extern const PanelKernels<std::uint16_t> panels_half;
extern const PanelKernels<Split> panels_split;
} // namespace pcsr::avx512
#endif

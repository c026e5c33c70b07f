#include "attention.h"

#include "attention_panels.h"
#include "product_tile.h"

namespace pcsr::PCSR_ISA {
namespace {

constexpr int graph_rows = PCSR_VECTOR_BYTES == 64 ? 9 : 4;

// The first `count` lanes of a vector; what lies beyond belongs to another caption.
PCSR_INLINE void store_first(float* to, V values, std::int64_t count) {
    store(to, count < step ? (first_lanes(count) ? values : load(to)) : values);
}

void focus(const float* scores, float* focused, std::int64_t stride, std::int64_t regions, const Segment* segments,
           std::int64_t count, float sharpness) {
    for (std::int64_t region = 0; region < regions; ++region) {
        for (const Segment* segment = segments; segment < segments + count; ++segment) {
            const std::int64_t start = region * stride + segment->first + 1, words = segment->count - 1;
            V squares{};
            for (std::int64_t word = 0; word < words; word += step) {
                const V x = leaky(load(scores + start + word));
                squares += first_lanes(words - word) ? x * x : V{};
            }
            const V scale = broadcast(sharpness / (__builtin_sqrtf(sum_of(squares)) + epsilon));
            for (std::int64_t word = 0; word < words; word += step) {
                store_first(focused + start + word, leaky(load(scores + start + word)) * scale, words - word);
            }
        }
    }
}

void differ_globals(const float* image, const float* captions, std::int64_t caption_stride, std::int64_t count,
                    std::int64_t width, float* out, std::int64_t stride) {
    for (std::int64_t k = 0; k < width; ++k) {
        const V value = broadcast(image[k]);
        for (std::int64_t caption = 0; caption < count; caption += step) {
            const V difference = value - load(captions + k * caption_stride + caption);
            store_first(out + k * stride + caption, difference * difference, count - caption);
        }
    }
}

void unit(float* rows, std::int64_t stride, std::int64_t depth, const float* bias) {
    for (int vector = 0; vector < 2; ++vector) {
        float* const columns = rows + vector * step;
        V squares{};
        for (std::int64_t k = 0; k < depth; ++k) {
            const V x = load(columns + k * stride) + broadcast(bias[k]);
            squares += x * x;
        }
        const V scale = 1 / (root(squares) + epsilon);
        for (std::int64_t k = 0; k < depth; ++k) {
            store(columns + k * stride, (load(columns + k * stride) + broadcast(bias[k])) * scale);
        }
    }
}

// edges[key][asking] = node of the key . product of the asking node, for `vectors` vectors of asking nodes.
template <int vectors>
PCSR_INLINE void weigh_edges(const GraphStep& graph, const Segment& segment, std::int64_t asking, std::int64_t width) {
    const float* const queries = graph.products + segment.first + asking;
    for (std::int64_t key = 0; key < segment.count; key += graph_rows) {
        V sums[graph_rows][vectors] = {};
        add_products(graph.nodes + segment.first + key, graph.stride, queries, graph.stride, graph.size, sums);
#pragma GCC unroll 12
        for (int row = 0; row < graph_rows; ++row) {
#pragma GCC unroll 2
            for (int vector = 0; vector < vectors; ++vector) {
                store(graph.edges + (key + row) * width + asking + vector * step, sums[row][vector]);
            }
        }
    }
}

// The softmax over the keys, but for its last division: that by the sums returned.
PCSR_INLINE V soften(float* edges, std::int64_t width, std::int64_t count, const float* tilts) {
    V most = broadcast(-__builtin_inff()), sums{};
    for (std::int64_t key = 0; key < count; ++key) {
        most = larger<float>(most, load(edges + key * width) + broadcast(tilts[key]));
    }
    for (std::int64_t key = 0; key < count; ++key) {
        const V weight = exp<float>(load(edges + key * width) + broadcast(tilts[key]) - most);
        sums += weight;
        store(edges + key * width, weight);
    }
    return 1 / sums;
}

// nodes[k][asking] = sum over the keys of W_s E[k][key] * edge[key][asking].
template <int vectors>
PCSR_INLINE void mix(const GraphStep& graph, const Segment& segment, std::int64_t asking, std::int64_t width,
                     const V* scales) {
    const float* const values = graph.products + graph.size * graph.stride + segment.first;
    float* const out = graph.nodes + segment.first + asking;
    for (std::int64_t k = 0; k < graph.size; k += graph_rows) {
        V sums[graph_rows][vectors] = {};
        for (std::int64_t key = 0; key < segment.count; ++key) {
            V edge[vectors];
#pragma GCC unroll 2
            for (int vector = 0; vector < vectors; ++vector) {
                edge[vector] = load(graph.edges + key * width + asking + vector * step);
            }
#pragma GCC unroll 12
            for (int row = 0; row < graph_rows; ++row) {
                const V value = broadcast(values[(k + row) * graph.stride + key]);
#pragma GCC unroll 2
                for (int vector = 0; vector < vectors; ++vector) {
                    sums[row][vector] += value * edge[vector];
                }
            }
        }
#pragma GCC unroll 12
        for (int row = 0; row < graph_rows; ++row) {
#pragma GCC unroll 2
            for (int vector = 0; vector < vectors; ++vector) {
                store_first(out + (k + row) * graph.stride + vector * step, sums[row][vector] * scales[vector],
                            segment.count - asking - vector * step);
            }
        }
    }
}

void reason(const GraphStep& graph, const Segment& segment) {
    const std::int64_t width = (segment.count + step - 1) / step * step;
    for (std::int64_t asking = 0; asking < width; asking += 2 * step) {
        asking + step < width ? weigh_edges<2>(graph, segment, asking, width)
                              : weigh_edges<1>(graph, segment, asking, width);
    }
    for (std::int64_t asking = 0; asking < width; asking += 2 * step) {
        const bool both = asking + step < width;
        V scales[2] = {};
        for (int vector = 0; vector <= both; ++vector) {
            scales[vector] =
                soften(graph.edges + asking + vector * step, width, segment.count, graph.tilts + segment.first);
        }
        both ? mix<2>(graph, segment, asking, width, scales) : mix<1>(graph, segment, asking, width, scales);
    }
}

void answer(const LastStep& last, const Segment& segment) {
    const float* const nodes = last.nodes + segment.first;
    V most = broadcast(-__builtin_inff());
    for (std::int64_t node = 0; node < segment.count; node += step) {
        V even = load(last.tilts + segment.first + node), odd{};
        const auto product = [&](std::int64_t k) __attribute__((always_inline)) {
            return broadcast(last.query[k * last.pair_stride]) * load(nodes + k * last.stride + node);
        };
        for (std::int64_t k = 0; k + 1 < last.size; k += 2) {
            even += product(k);
            odd += product(k + 1);
        }
        if (last.size % 2 == 1) {
            even += product(last.size - 1);
        }
        const V edges = first_lanes(segment.count - node) ? even + odd : broadcast(-__builtin_inff());
        most = larger<float>(most, edges);
        store(last.edges + node, edges);
    }
    const V largest = broadcast(largest_of(most));
    V totals{};
    for (std::int64_t node = 0; node < segment.count; node += step) {
        const V weight = exp<float>(load(last.edges + node) - largest);
        totals += weight;
        store(last.edges + node, weight);
    }
    const float scale = 1 / sum_of(totals);
    for (std::int64_t k = 0; k < last.size; ++k) {
        V sums{};
        for (std::int64_t node = 0; node < segment.count; node += step) {
            const V value = load(nodes + k * last.stride + node);
            sums += first_lanes(segment.count - node) ? load(last.edges + node) * value : V{};
        }
        last.mixture[k * last.pair_stride] = sum_of(sums) * scale;
    }
}

void conclude(const float* rows, std::int64_t stride, std::int64_t depth, const float* bias, const float* weights,
              float output_bias, float* out) {
    for (int vector = 0; vector < 2; ++vector) {
        V sums = broadcast(output_bias);
        for (std::int64_t k = 0; k < depth; ++k) {
            const V x = load(rows + k * stride + vector * step) + broadcast(bias[k]);
            sums += broadcast(weights[k]) * larger<float>(V{}, x);
        }
        store(out + vector * step, 1 / (1 + exp<float>(-sums)));
    }
}

void cosines(const float* scores, const float* weights, std::int64_t stride, const float* products,
             std::int64_t regions, const float* totals, const float* squares, float* out) {
    for (std::int64_t column = 0; column < panel; column += step) {
        V product{}, square{};
        for (std::int64_t region = 0; region < regions; ++region) {
            const V weight = load(weights + region * stride + column);
            product += weight * load(scores + region * stride + column);
            square += weight * load(products + region * panel + column);
        }
        const V scale = 1 / load(totals + column);
        const V both = larger<float>(square * scale * scale * load(squares + column), broadcast(epsilon * epsilon));
        store(out + column, product * scale / root(both));
    }
}

} // namespace

extern constexpr AttentionKernels attention = {step * 2, focus,  differ_globals, unit,
                                               reason,   answer, conclude,       cosines};
extern constexpr PanelKernels<float> panels_f32 = panels<float>();
#if PCSR_VECTOR_BYTES == 64
extern constexpr PanelKernels<std::uint16_t> panels_half = panels<std::uint16_t>();
extern constexpr PanelKernels<Split> panels_split = panels<Split>();
#endif

} // namespace pcsr::PCSR_ISA

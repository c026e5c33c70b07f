#include "attention_rows.h"

#include "attention_lanes.h"
#include "math.h"
#include "product_tile.h"

namespace pcsr::PCSR_ISA {
namespace {

void pack(const Rows& from, float* out) {
    constexpr int groups = (tile_rows + step - 1) / step;
    for (std::int64_t k = 0; k < from.width; k += step) {
        V columns[groups][step];
#pragma GCC unroll 2
        for (int group = 0; group < groups; ++group) {
#pragma GCC unroll 16
            for (int row = 0; row < step; ++row) {
                const std::int64_t at = group * step + row;
                columns[group][row] = at < tile_rows && at < from.count ? load(from.row(at) + k) : V{};
            }
            transpose<float>(columns[group]);
        }
        const std::int64_t left = from.width - k;
#pragma GCC unroll 16
        for (int depth = 0; depth < step; ++depth) {
            if (depth < left) {
#pragma GCC unroll 2
                for (int group = 0; group < groups; ++group) {
                    // Values beyond the panel are written over by the next depth.
                    store(out + (k + depth) * tile_rows + group * step, columns[group][depth]);
                }
            }
        }
    }
}

template <int most_rows, int vectors>
void multiply_panel(const RowProduct& product) {
    V sums[most_rows][vectors] = {};
    add_products(product.a, product.a_step, product.b, product.b_step, product.depth, sums);
#pragma GCC unroll 14
    for (int row = 0; row < most_rows; ++row) {
        if (row < product.rows) {
            float* const to = product.to + row * product.stride;
#pragma GCC unroll 2
            for (int vector = 0; vector < vectors; ++vector) {
                const V sum = sums[row][vector];
                store(to + vector * step, product.adds ? load(to + vector * step) + sum : sum);
            }
        }
    }
}

template <int most_rows>
void multiply_rows(const RowProduct& product) {
    product.columns > step ? multiply_panel<most_rows, 2>(product) : multiply_panel<most_rows, 1>(product);
}

// Half a panel where that is enough: the last rows of a recurrence are often few.
void multiply(const RowProduct& product) {
    constexpr int half = tile_rows / 2;
    product.rows > half ? multiply_rows<tile_rows>(product) : multiply_rows<half>(product);
}

void dots(const Rows& x, const Rows& y, float* out, std::int64_t stride) {
    constexpr int tile = 4;
    for (std::int64_t i = 0; i < x.count; i += tile) {
        for (std::int64_t j = 0; j < y.count; j += tile) {
            const float *a[tile], *b[tile];
            for (int n = 0; n < tile; ++n) {
                a[n] = x.row(i + n < x.count ? i + n : i);
                b[n] = y.row(j + n < y.count ? j + n : j);
            }
            V sums[tile][tile] = {};
            for (std::int64_t k = 0; k < x.width; k += step) {
#pragma GCC unroll 4
                for (int row = 0; row < tile; ++row) {
#pragma GCC unroll 4
                    for (int column = 0; column < tile; ++column) {
                        sums[row][column] += load(a[row] + k) * load(b[column] + k);
                    }
                }
            }
            for (int row = 0; row < tile && i + row < x.count; ++row) {
                for (int column = 0; column < tile && j + column < y.count; ++column) {
                    out[(i + row) * stride + j + column] = sum_of(sums[row][column]);
                }
            }
        }
    }
}

PCSR_INLINE void soften_row(float* row, std::int64_t count) {
    V most = broadcast(-__builtin_inff());
    for (std::int64_t n = 0; n < count; n += step) {
        const V values = first_lanes(count - n) ? load(row + n) : broadcast(-__builtin_inff());
        most = larger<float>(most, values);
        store(row + n, values);
    }
    const V largest = broadcast(largest_of(most));
    V totals{};
    for (std::int64_t n = 0; n < count; n += step) {
        const V weight = exp<float>(load(row + n) - largest);
        totals += weight;
        store(row + n, weight);
    }
    const V scale = broadcast(1 / sum_of(totals));
    for (std::int64_t n = 0; n < count; n += step) {
        store(row + n, load(row + n) * scale);
    }
}

void soften(const Rows& rows) {
    for (std::int64_t n = 0; n < rows.count; ++n) {
        soften_row(rows.row(n), rows.width);
    }
}

void soften_back(const Rows& rows, const Rows& gradient) {
    for (std::int64_t row = 0; row < rows.count; ++row) {
        const float* const weights = rows.row(row);
        float* const values = gradient.row(row);
        V sums{};
        for (std::int64_t n = 0; n < rows.width; n += step) {
            sums += first_lanes(rows.width - n) ? load(weights + n) * load(values + n) : V{};
        }
        const V mean = broadcast(sum_of(sums));
        for (std::int64_t n = 0; n < rows.width; n += step) {
            store(values + n, load(weights + n) * (load(values + n) - mean));
        }
    }
}

// 1 / (norm + 1e-8), and what x . gradient is weighed with in the gradient of x: both 0 at 0.
struct Scale {
    V inverse;
    V turn;
};

PCSR_INLINE Scale scale_of(V squares) {
    const V norm = root(squares), inverse = 1 / (norm + epsilon);
    const auto empty = norm == V{};
    return {empty ? V{} : inverse, empty ? V{} : inverse * inverse / norm};
}

// A norm of columns: the words of a caption lie below one another.
PCSR_INLINE V squares_of(const Rows& scores, std::int64_t region) {
    V squares{};
    for (std::int64_t word = 0; word < scores.count; ++word) {
        const V x = leaky(load(scores.row(word) + region));
        squares += x * x;
    }
    return squares;
}

void focus(const Rows& scores, float sharpness, const Rows& weights) {
    for (std::int64_t region = 0; region < scores.width; region += step) {
        const V scale = scale_of(squares_of(scores, region)).inverse * sharpness;
        for (std::int64_t word = 0; word < scores.count; ++word) {
            store(weights.row(word) + region, leaky(load(scores.row(word) + region)) * scale);
        }
    }
    soften(weights);
}

void focus_back(const Rows& scores, float sharpness, const Rows& weights, const Rows& gradient) {
    soften_back(weights, gradient);
    for (std::int64_t region = 0; region < scores.width; region += step) {
        const Scale scale = scale_of(squares_of(scores, region));
        V product{};
        for (std::int64_t word = 0; word < scores.count; ++word) {
            product += leaky(load(scores.row(word) + region)) * load(gradient.row(word) + region);
        }
        for (std::int64_t word = 0; word < scores.count; ++word) {
            const V score = load(scores.row(word) + region), given = load(gradient.row(word) + region);
            // Of x / (|x| + 1e-8) for a single word almost nothing is left: the difference would be rounding.
            const V turned = scores.count == 1 ? given * scale.inverse * scale.inverse * epsilon
                                               : given * scale.inverse - leaky(score) * (product * scale.turn);
            store(gradient.row(word) + region, (score > V{} ? turned : turned * leaky_slope) * sharpness);
        }
    }
}

PCSR_INLINE V product_of(const float* a, const float* b, std::int64_t width) {
    V even{}, odd{};
    for (std::int64_t k = 0; k < width; k += 2 * step) {
        even += load(a + k) * load(b + k);
        odd += load(a + k + step) * load(b + k + step);
    }
    return broadcast(sum_of(even + odd));
}

void differ(const Rows& contexts, const Rows& words, const Rows& out) {
    for (std::int64_t row = 0; row < contexts.count; ++row) {
        const float *const context = contexts.row(row), *const word = words.row(row);
        const V scale = scale_of(product_of(context, context, contexts.width)).inverse;
        for (std::int64_t k = 0; k < contexts.width; k += step) {
            const V difference = load(context + k) * scale - load(word + k);
            store(out.row(row) + k, difference * difference);
        }
    }
}

// The gradient of x from that of l2norm(x).
PCSR_INLINE void turn(const float* x, const Scale& scale, float* gradient, std::int64_t width) {
    const V weight = product_of(x, gradient, width) * scale.turn;
    for (std::int64_t k = 0; k < width; k += step) {
        store(gradient + k, load(gradient + k) * scale.inverse - load(x + k) * weight);
    }
}

void differ_back(const Rows& contexts, const Rows& words, const Rows& gradient, const Rows& words_gradient) {
    for (std::int64_t row = 0; row < contexts.count; ++row) {
        const float *const context = contexts.row(row), *const word = words.row(row);
        float* const values = gradient.row(row);
        const Scale scale = scale_of(product_of(context, context, contexts.width));
        for (std::int64_t k = 0; k < contexts.width; k += step) {
            const V value = 2 * (load(context + k) * scale.inverse - load(word + k)) * load(values + k);
            store(values + k, value);
            store(words_gradient.row(row) + k, -value);
        }
        turn(context, scale, values, contexts.width);
    }
}

void shift(const Rows& rows, const float* bias) {
    for (std::int64_t row = 0; row < rows.count; ++row) {
        for (std::int64_t k = 0; k < rows.width; k += step) {
            store(rows.row(row) + k, load(rows.row(row) + k) + load(bias + k));
        }
    }
}

void unit(const Rows& rows, const float* bias, const Rows& out) {
    shift(rows, bias);
    for (std::int64_t row = 0; row < rows.count; ++row) {
        const float* const values = rows.row(row);
        const V scale = scale_of(product_of(values, values, rows.width)).inverse;
        for (std::int64_t k = 0; k < rows.width; k += step) {
            store(out.row(row) + k, load(values + k) * scale);
        }
    }
}

void unit_back(const Rows& rows, const Rows& gradient) {
    for (std::int64_t row = 0; row < rows.count; ++row) {
        const float* const values = rows.row(row);
        turn(values, scale_of(product_of(values, values, rows.width)), gradient.row(row), rows.width);
    }
}

void rectify(const Rows& rows, const float* bias) {
    for (std::int64_t row = 0; row < rows.count; ++row) {
        for (std::int64_t k = 0; k < rows.width; k += step) {
            store(rows.row(row) + k, larger<float>(V{}, load(rows.row(row) + k) + load(bias + k)));
        }
    }
}

void rectify_back(const Rows& rows, const Rows& gradient) {
    for (std::int64_t row = 0; row < rows.count; ++row) {
        for (std::int64_t k = 0; k < rows.width; k += step) {
            store(gradient.row(row) + k, load(rows.row(row) + k) <= V{} ? V{} : load(gradient.row(row) + k));
        }
    }
}

// What the cosine of a word and its context is made of.
struct Cosine {
    float product; // of both
    float square;  // of the context
    float word;    // square
};

PCSR_INLINE Cosine cosine_of(const float* scores, const float* weights, const float* products, std::int64_t regions,
                             const float* word, std::int64_t width) {
    V product{}, square{};
    for (std::int64_t region = 0; region < regions; region += step) {
        const V weight = load(weights + region);
        product += weight * load(scores + region);
        square += weight * load(products + region);
    }
    return {sum_of(product), sum_of(square), product_of(word, word, width)[0]};
}

void cosines(const Rows& scores, const Rows& weights, const Rows& products, const Rows& words, float* out) {
    for (std::int64_t row = 0; row < scores.count; ++row) {
        const Cosine cosine =
            cosine_of(scores.row(row), weights.row(row), products.row(row), scores.width, words.row(row), words.width);
        const float both = cosine.square * cosine.word;
        out[row] = cosine.product / __builtin_sqrtf(both < epsilon * epsilon ? epsilon * epsilon : both);
    }
}

void cosines_back(const Rows& scores, const Rows& weights, const Rows& products, const Rows& words, float slope,
                  const Rows& gradient, const Rows& words_gradient, float* slopes) {
    for (std::int64_t row = 0; row < scores.count; ++row) {
        const Cosine cosine =
            cosine_of(scores.row(row), weights.row(row), products.row(row), scores.width, words.row(row), words.width);
        const float both = cosine.square * cosine.word;
        const bool small = both < epsilon * epsilon;
        const float scale = slope / __builtin_sqrtf(small ? epsilon * epsilon : both);
        const float turned = small ? 0 : -scale * cosine.product / both; // twice the gradient of `both`
        const V of_context = broadcast(turned * cosine.word);
        slopes[row] = scale;
        for (std::int64_t region = 0; region < scores.width; region += step) {
            float* const product = products.row(row) + region;
            store(gradient.row(row) + region,
                  broadcast(scale) * load(scores.row(row) + region) + of_context * load(product));
            store(product, of_context * load(weights.row(row) + region));
        }
        for (std::int64_t k = 0; k < words.width; k += step) {
            store(words_gradient.row(row) + k, broadcast(turned * cosine.square) * load(words.row(row) + k));
        }
    }
}

void differ_globals(const float* a, const float* b, std::int64_t width, float* out) {
    for (std::int64_t k = 0; k < width; ++k) {
        out[k] = (a[k] - b[k]) * (a[k] - b[k]);
    }
}

void differ_globals_back(const float* a, const float* b, std::int64_t width, float* gradient) {
    for (std::int64_t k = 0; k < width; ++k) {
        gradient[k] *= 2 * (a[k] - b[k]);
    }
}

} // namespace

extern constexpr RowKernels attention_rows = {
    tile_rows,    tile_vectors * step, pack,    multiply,     dots,  focus,  focus_back,  differ,         differ_back,
    unit,         unit_back,           rectify, rectify_back, shift, soften, soften_back, differ_globals, cosines,
    cosines_back, differ_globals_back};

} // namespace pcsr::PCSR_ISA

#include "attention_gradient.h"

#include <cmath>
#include <utility>

namespace pcsr {
namespace {

Matrix rows_of(const Matrix& from, std::int64_t first, std::int64_t rows) {
    return {static_cast<const float*>(from.data) + first * from.stride, Type::f32, rows, from.width, from.stride};
}

const float* row_of(const Matrix& from, std::int64_t row) {
    return static_cast<const float*>(from.data) + row * from.stride;
}

// Scores of a block's pairs, and all that their gradient is made from.
class SgrPairs {
public:
    SgrPairs(const CrossAttention& problem, const Reasoning& weights, const std::vector<PairBlock>& blocks)
        : capacity(blocks), products(threads_for_pairs(problem, blocks, problem.each + weights.size()),
                                     std::max({problem.words.width, weights.size(), problem.each, capacity.nodes})),
          attention(problem, sgr_sharpness, capacity, products), weights(weights), size(weights.size()),
          steps(weights.steps()), contexts(capacity.words, problem.words.width),
          squares(capacity.nodes, problem.words.width), raw(capacity.nodes, size), asked(capacity.pairs, size),
          scores(capacity.pairs), vectors(weights.vectors.rows, size), local_(Columns::of_rows(weights.local)),
          global_(Columns::of_rows(weights.global)) {
        for (std::int64_t row = 0; row < weights.vectors.rows; ++row) {
            std::copy_n(weights.vector(row), size, vectors.row(row));
        }
        for (std::int64_t step = 0; step < steps; ++step) {
            const std::int64_t asking = step + 1 == steps ? capacity.pairs : capacity.nodes;
            edge_.push_back(Columns::of_rows(edge_weight(step)));
            update_.push_back(Columns::of_rows(update_weight(step)));
            nodes.emplace_back(capacity.nodes, size);
            queries.emplace_back(asking, size);
            edges.emplace_back(asking, capacity.longest + 1);
            mixed.emplace_back(asking, size);
        }
        nodes.emplace_back(capacity.pairs, size);
        for (int slot = 0; slot < products.threads(); ++slot) {
            rooms.push_back(aligned_memory<float>((capacity.longest + 2) * panel_room));
        }
    }

    Matrix edge_weight(std::int64_t step) const { return rows_of(weights.graph, 2 * size * step, size); }
    Matrix update_weight(std::int64_t step) const { return rows_of(weights.graph, 2 * size * step + size, size); }

    // The nodes of a pair, the global one first; those that ask in a step: in the last one that alone.
    Rows nodes_of(const Plane& plane, const PairBlock& block, std::int64_t p) const {
        return plane.rows(block.pairs[p].first + p, block.pairs[p].words + 1);
    }
    Rows asking_of(const Plane& plane, const PairBlock& block, std::int64_t p, std::int64_t step) const {
        return step + 1 == steps ? plane.rows(p, 1) : nodes_of(plane, block, p);
    }
    Rows asking(const Plane& plane, const PairBlock& block, std::int64_t step) const {
        return plane.rows(0, step + 1 == steps ? block.count() : block.nodes());
    }
    const Plane& askers(std::int64_t step) const { return step + 1 == steps ? asked : nodes[step]; }
    Rows edges_of(const Plane& plane, const PairBlock& block, std::int64_t p, std::int64_t step) const {
        return narrowed(asking_of(plane, block, p, step), block.pairs[p].words + 1);
    }

    template <typename Visit>
    void for_pairs(const PairBlock& block, Visit visit) const {
#pragma omp parallel for schedule(dynamic, 1) num_threads(products.threads())
        for (std::int64_t p = 0; p < block.count(); ++p) {
            visit(p, rooms[this_thread()].get());
        }
    }

    void score(const PairBlock& block) {
        make_nodes(block);
        for (std::int64_t step = 0; step < steps; ++step) {
            take_step(block, step);
        }
        row_kernels().dots(nodes[steps].rows(0, block.count()), vectors.rows(weights.vectors.rows - 1, 1),
                           scores.data(), 1);
        for (std::int64_t p = 0; p < block.count(); ++p) {
            scores[p] = 1 / (1 + std::exp(-(scores[p] + weights.output_bias)));
        }
    }

    Capacity capacity;
    RowProducts products;
    PairAttention attention;
    const Reasoning& weights;
    std::int64_t size;
    std::int64_t steps;
    Plane contexts;
    Plane squares; // of differences: a row a word, then a row a pair
    Plane raw;     // nodes before they become unit vectors, in the order of squares
    Plane asked;   // global nodes before the last step
    std::vector<float> scores;
    Plane vectors;
    std::vector<Plane> nodes, queries, edges, mixed;
    std::vector<Memory<float>> rooms; // for packed edges of a thread

private:
    static constexpr std::int64_t panel_room = 16; // at least as wide as a panel of rows

    void make_nodes(const PairBlock& block) {
        const RowKernels& kernels = row_kernels();
        const std::int64_t words = block.words, count = block.count();
        attention.attend(block);
        attention.mix(block, contexts);
        for_pairs(block, [&](std::int64_t p, float*) {
            const Pair& pair = block.pairs[p];
            kernels.differ(contexts.rows(pair.first, pair.words), attention.words.rows(pair.first, pair.words),
                           squares.rows(pair.first, pair.words));
            kernels.differ_globals(row_of(weights.images, pair.image), row_of(weights.captions, pair.caption),
                                   attention.width(), squares.row(words + p));
        });
        products.run(std::vector<Times>{{squares.rows(0, words), &local_, raw.rows(0, words)},
                                        {squares.rows(words, count), &global_, raw.rows(words, count)}});
        for_pairs(block, [&](std::int64_t p, float*) {
            const Pair& pair = block.pairs[p];
            const Rows own = nodes_of(nodes[0], block, p);
            kernels.unit(raw.rows(words + p, 1), vectors.row(1), own.part(0, 1));
            kernels.unit(raw.rows(pair.first, pair.words), vectors.row(0), own.part(1, pair.words));
        });
    }

    void take_step(const PairBlock& block, std::int64_t step) {
        const RowKernels& kernels = row_kernels();
        if (step + 1 == steps) {
            for (std::int64_t p = 0; p < block.count(); ++p) {
                std::copy_n(nodes_of(nodes[step], block, p).data, size, asked.row(p));
            }
        }
        products.run(
            std::vector<Times>{{asking(askers(step), block, step), &edge_[step], asking(queries[step], block, step)}});
        for_pairs(block, [&](std::int64_t p, float* room) {
            const Rows own = nodes_of(nodes[step], block, p), query = asking_of(queries[step], block, p, step);
            const Rows weights_of = edges_of(edges[step], block, p, step);
            kernels.shift(query, vectors.row(2 + 2 * step));
            kernels.dots(query, own, weights_of.data, weights_of.stride);
            kernels.soften(weights_of);
            multiply_rows(weights_of, own, asking_of(mixed[step], block, p, step), false, room);
        });
        products.run(std::vector<Times>{
            {asking(mixed[step], block, step), &update_[step], asking(nodes[step + 1], block, step)}});
        for_pairs(block, [&](std::int64_t p, float*) {
            kernels.rectify(asking_of(nodes[step + 1], block, p, step), vectors.row(3 + 2 * step));
        });
    }

    Columns local_, global_;
    std::vector<Columns> edge_, update_;
};

class SgrGradient {
public:
    SgrGradient(const CrossAttention& problem, const Reasoning& weights, const Pairs& pairs,
                const std::vector<PairBlock>& blocks, const ReasoningGradient& out)
        : pairs_(pairs), out_(out), forward_(problem, weights, blocks), size_(forward_.size), steps_(forward_.steps),
          above_(forward_.capacity.nodes, size_), below_(forward_.capacity.nodes, size_),
          queries_(forward_.capacity.nodes, size_), mixed_(forward_.capacity.nodes, size_),
          slopes_(forward_.capacity.nodes, forward_.capacity.longest + 1), words_(forward_.capacity.words, width()),
          scores_(forward_.capacity.words, problem.each), local_(Columns::of_columns(weights.local)),
          global_(Columns::of_columns(weights.global)), local_sums_(size_, width()), global_sums_(size_, width()),
          graph_sums_(2 * size_ * steps_, size_), vector_sums_(weights.vectors.rows, size_), block_sum_(1, size_) {
        for (std::int64_t step = 0; step < steps_; ++step) {
            edge_.push_back(Columns::of_columns(forward_.edge_weight(step)));
            update_.push_back(Columns::of_columns(forward_.update_weight(step)));
        }
    }

    void run(const std::vector<PairBlock>& blocks) {
        for (const PairBlock& block : blocks) {
            forward_.score(block);
            start(block);
            for (std::int64_t step = steps_ - 1; step >= 0; --step) {
                undo_step(block, step);
            }
            undo_nodes(block);
        }
        write(local_sums_, size_, width(), out_.local);
        write(global_sums_, size_, width(), out_.global);
        write(graph_sums_, 2 * size_ * steps_, size_, out_.graph);
        write(vector_sums_, 3 + 2 * steps_, size_, out_.vectors);
        *out_.output_bias = bias_sum_;
    }

private:
    std::int64_t width() const { return forward_.attention.width(); }
    RowProducts& products() { return forward_.products; }

    static void write(const Plane& from, std::int64_t rows, std::int64_t width, float* to) {
        for (std::int64_t row = 0; row < rows; ++row) {
            std::copy_n(from.row(row), width, to + row * width);
        }
    }

    // The block's rows first: one long chain of sums would round more.
    void add_rows(const Rows& from, float* to) {
        std::fill_n(block_sum_.row(0), size_, 0.0f);
        std::vector<Addition> additions;
        for (std::int64_t row = 0; row < from.count; ++row) {
            additions.push_back({from.row(row), block_sum_.row(0)});
        }
        additions.push_back({block_sum_.row(0), to});
        add_all(products().threads(), additions, size_);
    }

    // From the scores to the global nodes that the last step left.
    void start(const PairBlock& block) {
        const std::int64_t output = 2 + 2 * steps_;
        std::vector<Addition> additions;
        for (std::int64_t p = 0; p < block.count(); ++p) {
            const float score = forward_.scores[p];
            const float slope = pairs_.upstream[block.pairs[p].at] * score * (1 - score);
            bias_sum_ += slope;
            additions.push_back({forward_.nodes[steps_].row(p), vector_sums_.row(output), slope});
            std::fill_n(above_.row(p), size_, 0.0f);
            additions.push_back({forward_.vectors.row(output), above_.row(p), slope});
        }
        add_all(products().threads(), additions, size_);
    }

    // From the gradient of a step's results in above_ to that of its nodes, there too.
    void undo_step(const PairBlock& block, std::int64_t step) {
        const RowKernels& kernels = row_kernels();
        const SgrPairs& f = forward_;
        const Rows above = f.asking(above_, block, step), queries = f.asking(queries_, block, step);
        f.for_pairs(block, [&](std::int64_t p, float*) {
            kernels.rectify_back(f.asking_of(f.nodes[step + 1], block, p, step), f.asking_of(above_, block, p, step));
        });
        add_rows(above, vector_sums_.row(3 + 2 * step));
        products().run(std::vector<Across>{
            {above, f.asking(f.mixed[step], block, step), graph_sums_.rows(2 * size_ * step + size_, size_), true}});
        products().run(std::vector<Times>{{above, &update_[step], f.asking(mixed_, block, step)}});
        f.for_pairs(block, [&](std::int64_t p, float* room) { undo_edges(block, p, step, room); });
        add_rows(queries, vector_sums_.row(2 + 2 * step));
        products().run(std::vector<Across>{
            {queries, f.asking(f.askers(step), block, step), graph_sums_.rows(2 * size_ * step, size_), true}});
        const bool last = step + 1 == steps_;
        products().run(
            std::vector<Times>{{queries, &edge_[step], f.asking(last ? above_ : below_, block, step), !last}});
        if (last) {
            std::vector<Addition> additions;
            for (std::int64_t p = 0; p < block.count(); ++p) {
                additions.push_back({above_.row(p), f.nodes_of(below_, block, p).data});
            }
            add_all(products().threads(), additions, size_);
        }
        std::swap(above_, below_);
    }

    void undo_edges(const PairBlock& block, std::int64_t p, std::int64_t step, float* room) {
        const RowKernels& kernels = row_kernels();
        const SgrPairs& f = forward_;
        const Rows own = f.nodes_of(f.nodes[step], block, p), gradient = f.nodes_of(below_, block, p);
        const Rows mixed = f.asking_of(mixed_, block, p, step);
        const Rows edges = f.edges_of(f.edges[step], block, p, step), slopes = f.edges_of(slopes_, block, p, step);
        kernels.dots(mixed, own, slopes.data, slopes.stride);
        kernels.soften_back(edges, slopes);
        multiply_across({edges, mixed, gradient, false});
        multiply_across({slopes, f.asking_of(f.queries[step], block, p, step), gradient, true});
        multiply_rows(slopes, own, f.asking_of(queries_, block, p, step), false, room);
    }

    // From the first nodes to regions, words and global vectors.
    void undo_nodes(const PairBlock& block) {
        const RowKernels& kernels = row_kernels();
        const SgrPairs& f = forward_;
        const std::int64_t words = block.words, count = block.count();
        f.for_pairs(block, [&](std::int64_t p, float*) {
            const Pair& pair = block.pairs[p];
            const Rows own = f.nodes_of(above_, block, p);
            std::copy_n(own.data, own.width, below_.row(words + p));
            for (std::int64_t word = 0; word < pair.words; ++word) {
                std::copy_n(own.row(1 + word), own.width, below_.row(pair.first + word));
            }
            kernels.unit_back(f.raw.rows(words + p, 1), below_.rows(words + p, 1));
            kernels.unit_back(f.raw.rows(pair.first, pair.words), below_.rows(pair.first, pair.words));
        });
        const Rows locals = below_.rows(0, words), globals = below_.rows(words, count);
        add_rows(locals, vector_sums_.row(0));
        add_rows(globals, vector_sums_.row(1));
        products().run(std::vector<Across>{{locals, f.squares.rows(0, words), local_sums_.rows(0, size_), true},
                                           {globals, f.squares.rows(words, count), global_sums_.rows(0, size_), true}});
        products().run(std::vector<Times>{{locals, &local_, f.squares.rows(0, words)},
                                          {globals, &global_, f.squares.rows(words, count)}});
        f.for_pairs(block, [&](std::int64_t p, float*) {
            const Pair& pair = block.pairs[p];
            kernels.differ_back(f.contexts.rows(pair.first, pair.words), f.attention.words.rows(pair.first, pair.words),
                                f.squares.rows(pair.first, pair.words), words_.rows(pair.first, pair.words));
            kernels.differ_globals_back(row_of(f.weights.images, pair.image), row_of(f.weights.captions, pair.caption),
                                        width(), f.squares.row(words + p));
        });
        std::vector<Addition> additions;
        for (std::int64_t p = 0; p < count; ++p) {
            const float* const row = f.squares.row(words + p);
            additions.push_back({row, out_.images + block.pairs[p].image * width()});
            additions.push_back({row, out_.captions + block.pairs[p].caption * width(), -1});
        }
        add_all(products().threads(), additions, width());
        forward_.attention.back(block, f.squares, scores_);
        forward_.attention.finish(block, scores_, words_, out_.regions, out_.words);
    }

    const Pairs& pairs_;
    const ReasoningGradient& out_;
    SgrPairs forward_;
    std::int64_t size_;
    std::int64_t steps_;
    Plane above_, below_;
    Plane queries_, mixed_, slopes_, words_, scores_;
    Columns local_, global_;
    std::vector<Columns> edge_, update_;
    Plane local_sums_, global_sums_, graph_sums_, vector_sums_, block_sum_;
    float bias_sum_ = 0;
};

} // namespace

void sgr_pairs(const CrossAttention& problem, const Reasoning& weights, const Pairs& pairs, float* out) {
    const std::vector<PairBlock> blocks = plan_pairs(problem, {pairs.images, pairs.captions, nullptr, pairs.count});
    SgrPairs scores(problem, weights, blocks);
    for (const PairBlock& block : blocks) {
        scores.score(block);
        for (std::int64_t p = 0; p < block.count(); ++p) {
            out[block.pairs[p].at] = scores.scores[p];
        }
    }
}

void sgr_gradient(const CrossAttention& problem, const Reasoning& weights, const Pairs& pairs,
                  const ReasoningGradient& out) {
    const std::int64_t width = problem.words.width;
    std::fill_n(out.regions, problem.regions.rows * width, 0.0f);
    std::fill_n(out.words, problem.words.rows * width, 0.0f);
    std::fill_n(out.images, weights.images.rows * width, 0.0f);
    std::fill_n(out.captions, weights.captions.rows * width, 0.0f);
    const std::vector<PairBlock> blocks = plan_pairs(problem, pairs);
    SgrGradient(problem, weights, pairs, blocks, out).run(blocks);
}

} // namespace pcsr

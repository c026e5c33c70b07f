// Some pairs of images and captions, block by block: attention of their words over regions, and its gradient.
#pragma once

#include "attention_scores.h"
#include "rows.h"

namespace pcsr {

// Pairs (images[p], captions[p]), and for gradients what the score of each is weighed with.
struct Pairs {
    const std::int64_t* images;
    const std::int64_t* captions;
    const float* upstream;
    std::int64_t count;
};

struct Pair {
    std::int64_t at; // among the pairs asked for
    std::int64_t image;
    std::int64_t caption;
    std::int64_t first; // row of its first word
    std::int64_t words;
};

// Neighbouring pairs of one image.
struct Run {
    std::int64_t image;
    std::int64_t first; // row
    std::int64_t words;
};

struct PairBlock {
    std::vector<Pair> pairs;
    std::vector<Run> runs;
    std::int64_t words = 0;

    std::int64_t count() const { return static_cast<std::int64_t>(pairs.size()); }
    std::int64_t nodes() const { return words + count(); }
};

constexpr std::int64_t block_nodes = 512;
constexpr std::int64_t block_runs = 16; // whose regions are packed at a time

// Pairs image by image, in blocks that depend on nothing but them.
inline std::vector<PairBlock> plan_pairs(const CrossAttention& problem, const Pairs& pairs) {
    std::vector<std::int64_t> order;
    for (std::int64_t p = 0; p < pairs.count; ++p) {
        if (pairs.upstream == nullptr || pairs.upstream[p] != 0) {
            order.push_back(p);
        }
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int64_t a, std::int64_t b) { return pairs.images[a] < pairs.images[b]; });
    std::vector<PairBlock> blocks;
    for (const std::int64_t p : order) {
        const std::int64_t image = pairs.images[p], caption = pairs.captions[p], words = problem.lengths[caption];
        const bool full = blocks.empty() || blocks.back().nodes() + words + 1 > block_nodes;
        if (full || (blocks.back().runs.back().image != image && blocks.back().runs.size() == block_runs)) {
            blocks.emplace_back();
        }
        PairBlock& block = blocks.back();
        if (block.runs.empty() || block.runs.back().image != image) {
            block.runs.push_back({image, block.words, 0});
        }
        block.pairs.push_back({p, image, caption, block.words, words});
        block.runs.back().words += words;
        block.words += words;
    }
    return blocks;
}

// For blocks whose nodes meet `rows` rows as wide as a word.
inline int threads_for_pairs(const CrossAttention& problem, const std::vector<PairBlock>& blocks, std::int64_t rows) {
    return blocks.empty() ? 1
                          : threads_for(double(blocks.size()) * double(blocks.front().nodes()) *
                                        double(problem.words.width) * double(rows));
}

// The most of anything that a block has.
struct Capacity {
    explicit Capacity(const std::vector<PairBlock>& blocks) {
        for (const PairBlock& block : blocks) {
            words = std::max(words, block.words);
            nodes = std::max(nodes, block.nodes());
            pairs = std::max(pairs, block.count());
            runs = std::max<std::int64_t>(runs, block.runs.size());
            for (const Pair& pair : block.pairs) {
                longest = std::max(longest, pair.words);
            }
        }
    }
    std::int64_t words = 0, nodes = 0, pairs = 0, runs = 0;
    std::int64_t longest = 0; // caption
};

class PairAttention {
public:
    PairAttention(const CrossAttention& problem, float sharpness, const Capacity& capacity, RowProducts& products)
        : words(capacity.words, problem.words.width), scores(capacity.words, problem.each),
          weights(capacity.words, problem.each), problem_(problem), sharpness_(sharpness), products_(products) {
        for (std::int64_t run = 0; run < capacity.runs; ++run) {
            regions_.push_back({Columns(width(), problem.each), Columns(problem.each, width())});
            sums_.emplace_back(problem.each, width());
        }
    }

    std::int64_t width() const { return problem_.words.width; }

    // Words of the block's pairs, their scores and weights over the regions of their image.
    void attend(const PairBlock& block) {
        for_rows(products_.threads(), block.count(), [&](std::int64_t first, std::int64_t pairs) {
            for (std::int64_t p = first; p < first + pairs; ++p) {
                const Pair& pair = block.pairs[p];
                for (std::int64_t word = 0; word < pair.words; ++word) {
                    std::copy_n(source(problem_.words, pair.caption * problem_.longest + word), width(),
                                words.row(pair.first + word));
                }
            }
        });
        const auto runs = static_cast<std::int64_t>(block.runs.size());
#pragma omp parallel for schedule(static) num_threads(products_.threads())
        for (std::int64_t run = 0; run < runs; ++run) {
            const Matrix regions = regions_of(block.runs[run].image);
            regions_[run].across.fill_from_rows(regions);
            regions_[run].along.fill_from_columns(regions);
        }
        products_.run(over_regions(block, words, scores));
        for_rows(products_.threads(), block.count(), [&](std::int64_t first, std::int64_t pairs) {
            for (std::int64_t p = first; p < first + pairs; ++p) {
                row_kernels().focus(part(scores, block.pairs[p]), sharpness_, part(weights, block.pairs[p]));
            }
        });
    }

    // to = weights V, whose gradient `back` takes.
    void mix(const PairBlock& block, const Plane& to) { products_.run(of_regions(block, weights, to, false)); }

    // From the gradient of the contexts to that of the scores, in `room`, and of the regions that were mixed.
    void back(const PairBlock& block, const Plane& contexts, const Plane& room) {
        products_.run(over_regions(block, contexts, room));
        products_.run(onto_regions(block, weights, contexts, false));
        unfocus(block, room);
    }

    // The gradient of the weights becomes that of the scores.
    void unfocus(const PairBlock& block, const Plane& gradient) const {
        for_rows(products_.threads(), block.count(), [&](std::int64_t first, std::int64_t pairs) {
            for (std::int64_t p = first; p < first + pairs; ++p) {
                const Pair& pair = block.pairs[p];
                row_kernels().focus_back(part(scores, pair), sharpness_, part(weights, pair), part(gradient, pair));
            }
        });
    }

    // Adds the gradients of regions and words, with what `gradient` of the scores and `words_gradient` leave to them.
    void finish(const PairBlock& block, const Plane& gradient, const Plane& words_gradient, float* regions_out,
                float* words_out) {
        products_.run(of_regions(block, gradient, words_gradient, true));
        products_.run(onto_regions(block, gradient, words, true));
        add(block, words_gradient, regions_out, words_out);
    }

    // A run's regions as rows times columns, and the gradient of the regions.
    const Columns& along(std::size_t run) const { return regions_[run].along; }
    const Columns& across(std::size_t run) const { return regions_[run].across; }
    const Plane& sums(std::size_t run) const { return sums_[run]; }
    std::int64_t each() const { return problem_.each; }

    Matrix regions_of(std::int64_t image) const {
        const Matrix& regions = problem_.regions;
        return {source(regions, image * problem_.each), Type::f32, problem_.each, regions.width, regions.stride};
    }
    // A pair's words by the regions.
    Rows part(const Plane& plane, const Pair& pair) const {
        return narrowed(plane.rows(pair.first, pair.words), problem_.each);
    }

    Plane words;
    Plane scores;
    Plane weights;

private:
    // Regions of an image as columns, and as rows that columns run across.
    struct Packed {
        Columns across;
        Columns along;
    };

    static const float* source(const Matrix& from, std::int64_t row) {
        return static_cast<const float*>(from.data) + row * from.stride;
    }

    std::vector<Times> over_regions(const PairBlock& block, const Plane& from, const Plane& to) const {
        std::vector<Times> products;
        for (std::size_t run = 0; run < block.runs.size(); ++run) {
            const std::int64_t first = block.runs[run].first, count = block.runs[run].words;
            products.push_back({from.rows(first, count), &regions_[run].across, to.rows(first, count)});
        }
        return products;
    }
    std::vector<Times> of_regions(const PairBlock& block, const Plane& from, const Plane& to, bool adds) const {
        std::vector<Times> products;
        for (std::size_t run = 0; run < block.runs.size(); ++run) {
            const std::int64_t first = block.runs[run].first, count = block.runs[run].words;
            products.push_back({from.rows(first, count), &regions_[run].along, to.rows(first, count), adds});
        }
        return products;
    }
    std::vector<Across> onto_regions(const PairBlock& block, const Plane& x, const Plane& y, bool adds) const {
        std::vector<Across> products;
        for (std::size_t run = 0; run < block.runs.size(); ++run) {
            const std::int64_t first = block.runs[run].first, count = block.runs[run].words;
            products.push_back({x.rows(first, count), y.rows(first, count), sums_[run].rows(0, problem_.each), adds});
        }
        return products;
    }

    void add(const PairBlock& block, const Plane& words_gradient, float* regions_out, float* words_out) const {
        std::vector<Addition> additions;
        for (std::size_t run = 0; run < block.runs.size(); ++run) {
            for (std::int64_t region = 0; region < problem_.each; ++region) {
                additions.push_back(
                    {sums_[run].row(region), regions_out + (block.runs[run].image * problem_.each + region) * width()});
            }
        }
        for (const Pair& pair : block.pairs) {
            for (std::int64_t word = 0; word < pair.words; ++word) {
                additions.push_back({words_gradient.row(pair.first + word),
                                     words_out + (pair.caption * problem_.longest + word) * width()});
            }
        }
        add_all(products_.threads(), additions, width());
    }

    const CrossAttention& problem_;
    float sharpness_;
    RowProducts& products_;
    std::vector<Packed> regions_;
    std::vector<Plane> sums_;
};

} // namespace pcsr

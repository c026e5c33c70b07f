#include "attention_gradient.h"

namespace pcsr {
namespace {

// Cosines of a block's words and contexts by the Gram matrices G of the regions, without the contexts.
class ScanPairs {
public:
    ScanPairs(const CrossAttention& problem, float sharpness, const std::vector<PairBlock>& blocks)
        : capacity_(blocks), products_(threads_for_pairs(problem, blocks, problem.each),
                                       std::max({problem.words.width, problem.each, capacity_.words})),
          attention_(problem, sharpness, capacity_, products_), regions_(problem.each, problem.words.width),
          turned_(capacity_.words, problem.each), cosines_(capacity_.words), gradient_(capacity_.words, problem.each),
          words_(capacity_.words, problem.words.width) {
        for (std::int64_t run = 0; run < capacity_.runs; ++run) {
            grams_.emplace_back(problem.each, problem.each);
            packed_.emplace_back(problem.each, problem.each);
        }
    }

    void score(const PairBlock& block, float* out) {
        attend(block);
        for (const Pair& pair : block.pairs) {
            row_kernels().cosines(part(attention_.scores, pair), part(attention_.weights, pair), part(turned_, pair),
                                  attention_.words.rows(pair.first, pair.words), cosines_.data());
            out[pair.at] =
                std::accumulate(cosines_.begin(), cosines_.begin() + pair.words, 0.0f) / static_cast<float>(pair.words);
        }
    }

    void back(const PairBlock& block, const float* upstream, float* regions, float* words) {
        attend(block);
        for_rows(products_.threads(), block.count(), [&](std::int64_t first, std::int64_t pairs) {
            for (std::int64_t p = first; p < first + pairs; ++p) {
                const Pair& pair = block.pairs[p];
                row_kernels().cosines_back(part(attention_.scores, pair), part(attention_.weights, pair),
                                           part(turned_, pair), attention_.words.rows(pair.first, pair.words),
                                           upstream[pair.at] / static_cast<float>(pair.words), part(gradient_, pair),
                                           words_.rows(pair.first, pair.words), cosines_.data() + pair.first);
            }
        });
        const std::int64_t each = attention_.each();
        std::vector<Across> onto_grams;
        std::vector<Times> of_grams;
        for (std::size_t run = 0; run < block.runs.size(); ++run) {
            const std::int64_t first = block.runs[run].first, count = block.runs[run].words;
            const Rows gram = grams_[run].rows(0, each);
            onto_grams.push_back({attention_.weights.rows(first, count), turned_.rows(first, count), gram});
            of_grams.push_back({gram, &attention_.along(run), attention_.sums(run).rows(0, each)});
        }
        products_.run(onto_grams);
        products_.run(of_grams);
        attention_.unfocus(block, gradient_);
        std::vector<Addition> additions;
        for (std::int64_t word = 0; word < block.words; ++word) {
            additions.push_back({attention_.weights.row(word), gradient_.row(word), cosines_[word]});
        }
        add_all(products_.threads(), additions, each);
        attention_.finish(block, gradient_, words_, regions, words);
    }

private:
    Rows part(const Plane& plane, const Pair& pair) const { return attention_.part(plane, pair); }

    // Scores, weights, and the weights turned by G.
    void attend(const PairBlock& block) {
        attention_.attend(block);
        const std::int64_t each = attention_.each();
        std::vector<Times> turning;
        for (std::size_t run = 0; run < block.runs.size(); ++run) {
            const Matrix regions = attention_.regions_of(block.runs[run].image);
            for (std::int64_t region = 0; region < each; ++region) {
                std::copy_n(static_cast<const float*>(regions.data) + region * regions.stride, regions.width,
                            regions_.row(region));
            }
            const Rows gram = grams_[run].rows(0, each);
            products_.run(std::vector<Times>{{regions_.rows(0, each), &attention_.across(run), gram}});
            packed_[run].fill_from_columns({gram.data, Type::f32, each, each, gram.stride});
            const std::int64_t first = block.runs[run].first, count = block.runs[run].words;
            turning.push_back({attention_.weights.rows(first, count), &packed_[run], turned_.rows(first, count)});
        }
        products_.run(turning);
    }

    Capacity capacity_;
    RowProducts products_;
    PairAttention attention_;
    Plane regions_;
    Plane turned_;
    std::vector<float> cosines_;
    Plane gradient_;
    Plane words_;
    std::vector<Plane> grams_;
    std::vector<Columns> packed_;
};

} // namespace

void scan_pairs(const CrossAttention& problem, float sharpness, const Pairs& pairs, float* out) {
    const std::vector<PairBlock> blocks = plan_pairs(problem, {pairs.images, pairs.captions, nullptr, pairs.count});
    ScanPairs scan(problem, sharpness, blocks);
    for (const PairBlock& block : blocks) {
        scan.score(block, out);
    }
}

void scan_gradient(const CrossAttention& problem, float sharpness, const Pairs& pairs, float* regions, float* words) {
    std::fill_n(regions, problem.regions.rows * problem.regions.width, 0.0f);
    std::fill_n(words, problem.words.rows * problem.words.width, 0.0f);
    const std::vector<PairBlock> blocks = plan_pairs(problem, pairs);
    ScanPairs scan(problem, sharpness, blocks);
    for (const PairBlock& block : blocks) {
        scan.back(block, pairs.upstream, regions, words);
    }
}

} // namespace pcsr

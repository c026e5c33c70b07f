#include "ranks.h"

#include "simd.h"

namespace pcsr::PCSR_ISA {
namespace {

// All bits where a score comes before the truth. A NaN is never smaller: pessimistic counts it.
template <typename T, Ties ties>
PCSR_INLINE auto before(Vec<T> score, Vec<T> truth, Vec<Index<T>> at, Vec<Index<T>> own) {
    if constexpr (ties == Ties::pessimistic) {
        return ~(score < truth);
    } else if constexpr (ties == Ties::optimistic) {
        return score > truth;
    } else {
        return (score > truth) | ((score == truth) & (at < own));
    }
}

template <typename T, Ties ties>
void count_ties(const Block<T>& block, const RankState<T>& state) {
    constexpr int step = lanes<T>;
    using Ints = Vec<Index<T>>;
    for (std::int64_t column = 0; column < block.columns; column += step) {
        const Vec<T> truth = load(state.column_truth + column);
        const Ints own = load(state.column_own + column);
        const Ints here = iota<Index<T>>() + static_cast<Index<T>>(block.first_column + column);
        Ints counts = load(state.column_counts + column);
        for (std::int64_t row = 0; row < block.rows; ++row) {
            const Vec<T> score = load(block.scores + row * block.stride + column);
            const Ints image = broadcast(static_cast<Index<T>>(block.first_row + row));
            Index<T>* const row_counts = state.row_counts + row * step;
            counts -= before<T, ties>(score, truth, image, own);
            store(row_counts, load(row_counts) - before<T, ties>(score, broadcast(state.row_truth[row]), here,
                                                                 broadcast(state.row_own[row])));
        }
        store(state.column_counts + column, counts);
    }
}

template <typename T>
void count(const Block<T>& block, const RankState<T>& state, Ties ties) {
    switch (ties) {
    case Ties::pessimistic:
        return count_ties<T, Ties::pessimistic>(block, state);
    case Ties::optimistic:
        return count_ties<T, Ties::optimistic>(block, state);
    case Ties::stable:
        return count_ties<T, Ties::stable>(block, state);
    }
}

} // namespace

extern constexpr RankKernels<float> ranks_f32 = {lanes<float>, count<float>};
extern constexpr RankKernels<double> ranks_f64 = {lanes<double>, count<double>};

} // namespace pcsr::PCSR_ISA

#include "hinge.h"

#include "simd.h"

namespace pcsr::PCSR_ISA {
namespace {

template <typename T>
void sum(const Block<T>& block, const HingeState<T>& state) {
    constexpr int step = lanes<T>;
    const Vec<T> zero{};
    for (std::int64_t column = 0; column < block.columns; column += step) {
        const auto ids = load(state.column_ids + column);
        const Vec<T> threshold = load(state.column_threshold + column);
        Vec<T> sums = load(state.column_sums + column);
        for (std::int64_t row = 0; row < block.rows; ++row) {
            const Vec<T> score = load(block.scores + row * block.stride + column);
            const auto negative = ids != broadcast(state.row_ids[row]);
            const Vec<T> by_row = score - broadcast(state.row_threshold[row]), by_column = score - threshold;
            T* const row_sums = state.row_sums + row * step;
            store(row_sums, load(row_sums) + (negative & (by_row > zero) ? by_row : zero));
            sums += negative & (by_column > zero) ? by_column : zero;
        }
        store(state.column_sums + column, sums);
    }
}

template <typename T>
void insert(T score, Index<T> at, std::int64_t k, T* scores, Index<T>* places) {
    std::int64_t here = k - 1;
    for (; here > 0 && scores[here - 1] < score; --here) {
        scores[here] = scores[here - 1];
        places[here] = places[here - 1];
    }
    scores[here] = score;
    places[here] = at;
}

template <typename T>
void keep_top(const Block<T>& block, const TopState<T>& state) {
    constexpr int step = lanes<T>;
    for (std::int64_t row = 0; row < block.rows; ++row) {
        T* const best = state.row_scores + row * state.k;
        Index<T>* const at = state.row_at + row * state.k;
        for (std::int64_t column = 0; column < block.columns; column += step) {
            const Vec<T> score = load(block.scores + row * block.stride + column);
            const auto negative = load(state.column_ids + column) != broadcast(state.row_ids[row]);
            const auto in_row = negative & (score > broadcast(best[state.k - 1]));
            const auto in_column = negative & (score > load(state.column_least + column));
            if (!any<T>(in_row | in_column)) {
                continue;
            }
            for (int lane = 0; lane < step; ++lane) {
                const std::int64_t here = column + lane;
                if (in_row[lane] && score[lane] > best[state.k - 1]) {
                    insert<T>(score[lane], static_cast<Index<T>>(block.first_column + here), state.k, best, at);
                }
                if (in_column[lane]) {
                    T* const tops = state.column_scores + here * state.k;
                    insert<T>(score[lane], static_cast<Index<T>>(block.first_row + row), state.k, tops,
                              state.column_at + here * state.k);
                    state.column_least[here] = tops[state.k - 1];
                }
            }
        }
    }
}

template <typename T>
void turn(const Block<T>& block, const HingeGradientState<T>& state) {
    constexpr int step = lanes<T>;
    const Vec<T> zero{};
    for (std::int64_t row = 0; row < block.rows; ++row) {
        const auto row_ids = broadcast(state.row_ids[row]);
        const Vec<T> row_threshold = broadcast(state.rows.threshold[row]);
        const Vec<T> row_weight = broadcast(state.rows.weight[row]);
        const Vec<T> row_least = broadcast(state.rows.least[row]);
        const auto row_least_at = broadcast(state.rows.least_at[row]);
        const auto row_here = broadcast(static_cast<Index<T>>(block.first_row + row));
        Vec<T> sums[2] = {};
        for (std::int64_t column = 0; column < block.columns; column += step) {
            T* const scores = block.scores + row * block.stride + column;
            const Vec<T> score = load(scores);
            const auto here = iota<Index<T>>() + static_cast<Index<T>>(block.first_column + column);
            const auto negative = load(state.column_ids + column) != row_ids;
            const Vec<T> least = load(state.columns.least + column);
            const auto in_row = (score > row_least) | ((score == row_least) & (here <= row_least_at));
            const auto in_column =
                (score > least) | ((score == least) & (row_here <= load(state.columns.least_at + column)));
            const auto active_row = negative & in_row & (score - row_threshold > zero);
            const auto active_column = negative & in_column & (score - load(state.columns.threshold + column) > zero);
            const Vec<T> by_row = active_row ? row_weight : zero;
            const Vec<T> by_column = active_column ? load(state.columns.weight + column) : zero;
            store(scores, by_row + by_column);
            sums[0] += by_row;
            sums[1] += by_column;
            store(state.column_sums[0] + column, load(state.column_sums[0] + column) + by_row);
            store(state.column_sums[1] + column, load(state.column_sums[1] + column) + by_column);
        }
        for (int side = 0; side < 2; ++side) {
            T total = 0;
            for (int lane = 0; lane < step; ++lane) {
                total += sums[side][lane];
            }
            state.row_sums[side][row] = total;
        }
    }
}

template <typename T>
constexpr HingeKernels<T> table() {
    return {lanes<T>, sum<T>, keep_top<T>, turn<T>};
}

} // namespace

extern constexpr HingeKernels<float> hinge_f32 = table<float>();
extern constexpr HingeKernels<double> hinge_f64 = table<double>();

} // namespace pcsr::PCSR_ISA

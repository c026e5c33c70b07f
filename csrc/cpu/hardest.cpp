#include "hardest.h"

#include "simd.h"

namespace pcsr::PCSR_ISA {
namespace {

template <typename T>
void reduce(const Block<T>& block, const HardestState<T>& state) {
    constexpr int step = lanes<T>;
    using Ints = Vec<Index<T>>;
    const Vec<T> none = broadcast(static_cast<T>(-__builtin_inf()));
    for (std::int64_t column = 0; column < block.columns; column += step) {
        const Ints ids = load(state.column_ids + column);
        const Ints here = iota<Index<T>>() + static_cast<Index<T>>(block.first_column + column);
        Vec<T> best = load(state.column_best + column);
        Ints at = load(state.column_at + column);
        for (std::int64_t row = 0; row < block.rows; ++row) {
            const Vec<T> raw = load(block.scores + row * block.stride + column);
            const Vec<T> score = ids == broadcast(state.row_ids[row]) ? none : raw;
            const auto above = score > best;
            best = above ? score : best;
            at = above ? broadcast(static_cast<Index<T>>(block.first_row + row)) : at;
            T* const row_best = state.row_best + row * step;
            Index<T>* const row_at = state.row_at + row * step;
            const Vec<T> before = load(row_best);
            const auto beats = score > before;
            store(row_best, beats ? score : before);
            store(row_at, beats ? here : load(row_at));
        }
        store(state.column_best + column, best);
        store(state.column_at + column, at);
    }
}

template <typename T>
void shift(const Block<T>& block, const T* by_row, const T* by_column, const T* matrix, std::int64_t stride) {
    for (std::int64_t row = 0; row < block.rows; ++row) {
        T* const scores = block.scores + row * block.stride;
        for (std::int64_t column = 0; column < block.columns; ++column) {
            scores[column] += by_row != nullptr      ? by_row[row]
                              : by_column != nullptr ? by_column[column]
                                                     : matrix[row * stride + column];
        }
    }
}

} // namespace

extern constexpr HardestKernels<float> hardest_f32 = {lanes<float>, reduce<float>, shift<float>};
extern constexpr HardestKernels<double> hardest_f64 = {lanes<double>, reduce<double>, shift<double>};

} // namespace pcsr::PCSR_ISA

// One pass over S = x y^T that gathers numbers of every row and every column.
#pragma once

#include "blocks.h"
#include "contrastive.h"

namespace pcsr {

template <typename T>
const ContrastiveKernels<T>& contrastive_kernels() {
    return of_type<T>(PCSR_TABLE(contrastive_f32), PCSR_TABLE(contrastive_f64));
}

// `known` of a whole matrix, seen from a block.
template <typename T>
ContrastiveBlock<T> at(const ContrastiveBlock<T>& known, const Block<T>& block) {
    const auto from = [](const Table<const T>& table, std::int64_t first) -> Table<const T> {
        return {table.values == nullptr ? nullptr : table.values + first, table.stride};
    };
    return {known.row_ids + block.first_row,   known.column_ids + block.first_column,  known.rate, known.q,
            from(known.rows, block.first_row), from(known.columns, block.first_column)};
}

// Calls visit(i, place in the block's scores) for the pairs of equal numbers in a block.
template <typename T, typename Visit>
void visit_own(const Block<T>& block, std::int64_t count, const Visit& visit) {
    const std::int64_t last = std::min({block.first_row + block.rows, block.first_column + block.columns, count});
    for (std::int64_t i = std::max(block.first_row, block.first_column); i < last; ++i) {
        visit(i, block.scores + (i - block.first_row) * block.stride + i - block.first_column);
    }
}

// Three numbers of each row and column. Rows have a place for every vector lane until their block ends, columns one
// for every part until the loop ends.
template <typename T>
class Gathering {
public:
    using Gather = typename ContrastiveKernels<T>::Gather;

    Gathering(const BlockLoop<T>& loop, std::int64_t count, Gathered kind, Gather gather)
        : kernels_(contrastive_kernels<T>()), kind_(static_cast<int>(kind)), gather_(gather), count_(count),
          padded_(loop.padded_columns()), most_(loop.block_rows() * kernels_.lanes), parts_(loop.parts()),
          rows_(numbers(count)), columns_(numbers(padded_ * parts_)), lanes_(numbers(most_ * loop.threads())) {
        fill(rows_.data(), count);
        for (int part = 0; part < parts_; ++part) {
            fill(column(part, 0), padded_);
        }
    }

    void begin(int slot) { fill(lanes_of(slot), most_); }

    void visit(int part, int slot, const Block<T>& block, const ContrastiveBlock<T>& known) {
        gather_(block, known, {lanes_of(slot), most_}, {column(part, block.first_column), padded_});
    }

    void end(int slot, const Block<T>& block, T rate) {
        kernels_.merge[kind_](block.rows, kernels_.lanes, {lanes_of(slot), most_}, 1, kernels_.lanes, rate,
                              {rows_.data() + block.first_row, count_});
    }

    void finish(T rate) {
        kernels_.merge[kind_](count_, parts_ - 1, {column(0, 0) + gathered_numbers * padded_, padded_},
                              gathered_numbers * padded_, 1, rate, {column(0, 0), padded_});
    }

    Table<const T> rows() const { return {rows_.data(), count_}; }
    Table<const T> columns() const { return {columns_.data(), padded_}; }

private:
    static std::size_t numbers(std::int64_t places) { return static_cast<std::size_t>(gathered_numbers * places); }

    void fill(T* places, std::int64_t count) const {
        for (int number = 0; number < gathered_numbers; ++number) {
            std::fill_n(places + number * count, count, kernels_.start[kind_][number]);
        }
    }

    T* column(int part, std::int64_t place) { return columns_.data() + gathered_numbers * padded_ * part + place; }
    T* lanes_of(int slot) { return lanes_.data() + gathered_numbers * most_ * slot; }

    const ContrastiveKernels<T>& kernels_;
    int kind_;
    Gather gather_;
    std::int64_t count_, padded_, most_;
    int parts_;
    std::vector<T> rows_, columns_, lanes_;
};

// One loop over S for several gatherings; takes the scores of pairs, too, where `own` (N) is not null.
template <typename T>
class ContrastivePass final : public BlockVisitor<T> {
public:
    ContrastivePass(const ContrastiveBlock<T>& known, std::int64_t count, T* own)
        : known_(known), count_(count), own_(own) {}

    void run(BlockLoop<T>& loop, const std::vector<Gathering<T>*>& all) {
        all_ = all;
        loop.run(*this);
        for (Gathering<T>* const one : all_) {
            one->finish(known_.rate);
        }
    }

    void begin_rows(int slot, std::int64_t, std::int64_t) override {
        for (Gathering<T>* const one : all_) {
            one->begin(slot);
        }
    }

    void visit(int part, int slot, const Block<T>& block) override {
        if (own_ != nullptr) {
            visit_own(block, count_, [this](std::int64_t i, const T* score) { own_[i] = *score; });
        }
        for (Gathering<T>* const one : all_) {
            one->visit(part, slot, block, at(known_, block));
        }
    }

    void end_rows(int, int slot, const Block<T>& block) override {
        for (Gathering<T>* const one : all_) {
            one->end(slot, block, known_.rate);
        }
    }

private:
    ContrastiveBlock<T> known_;
    std::int64_t count_;
    T* own_;
    std::vector<Gathering<T>*> all_;
};

} // namespace pcsr

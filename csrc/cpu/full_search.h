// Hardest negatives by a look at every score.
#pragma once

#include "blocks.h"
#include "hardest.h"
#include "ids.h"
#include "search.h"

namespace pcsr {

template <typename T>
const HardestKernels<T>& hardest_kernels() {
    return of_type<T>(PCSR_TABLE(hardest_f32), PCSR_TABLE(hardest_f64));
}

// What lies beyond the matrix stays as it is.
template <typename T>
void add_margins(const Block<T>& block, const Margins<T>& margins, std::int64_t columns) {
    Block<T> inside = block;
    inside.columns = std::min(block.columns, columns - block.first_column);
    const T* const values = margins.values;
    const T* const matrix = values + block.first_row * margins.stride + block.first_column;
    hardest_kernels<T>().shift(inside, margins.shift == Shift::row ? values + block.first_row : nullptr,
                               margins.shift == Shift::column ? values + block.first_column : nullptr, matrix,
                               margins.stride);
}

// Every score is made and compared.
template <typename T, typename P>
class FullSearch final : public BlockVisitor<T> {
public:
    FullSearch(const ProductKernels<T, P>& products, const Matrix& x, const Matrix& y, const Groups& groups,
               const Margins<T>& margins, const Hardest<T>& out, const Matrix& ready = nothing)
        : loop_(products, x, y, Cut{}, ready), kernels_(hardest_kernels<T>()), margins_(margins), out_(out),
          rows_(x.rows), columns_(y.rows), padded_(loop_.padded_columns()),
          ids_(ids_of<T>(groups, rows_, columns_, padded_)) {
        const std::size_t columns = static_cast<std::size_t>(padded_) * loop_.parts();
        column_best_.assign(columns, none);
        column_at_.assign(columns, -1);
        lanes_ = loop_.block_rows() * kernels_.lanes;
        row_best_.resize(static_cast<std::size_t>(lanes_) * loop_.threads());
        row_at_.resize(row_best_.size());
        std::fill_n(out.row_values, rows_, none);
        std::fill_n(out.row_indices, rows_, -1);
    }

    void run() {
        loop_.run(*this);
        for (std::int64_t column = 0; column < columns_; ++column) {
            T best = none;
            std::int64_t at = -1;
            for (int part = 0; part < loop_.parts(); ++part) {
                const std::size_t place = static_cast<std::size_t>(part) * padded_ + column;
                if (column_best_[place] > best) {
                    best = column_best_[place];
                    at = column_at_[place];
                }
            }
            out_.column_values[column] = best;
            out_.column_indices[column] = at;
        }
    }

    void begin_rows(int slot, std::int64_t, std::int64_t rows) override {
        std::fill_n(row_best_.begin() + slot * lanes_, rows * kernels_.lanes, none);
        std::fill_n(row_at_.begin() + slot * lanes_, rows * kernels_.lanes, Index<T>(-1));
    }

    void visit(int part, int slot, const Block<T>& block) override {
        if (out_.own != nullptr) {
            keep_own(block);
        }
        if (margins_.shift != Shift::none) {
            add_margins(block, margins_, columns_);
        }
        const std::size_t column = static_cast<std::size_t>(part) * padded_ + block.first_column;
        kernels_.reduce(block, {ids_.rows.data() + block.first_row, ids_.columns.data() + block.first_column,
                                row_best_.data() + slot * lanes_, row_at_.data() + slot * lanes_,
                                column_best_.data() + column, column_at_.data() + column});
    }

    void end_rows(int, int slot, const Block<T>& block) override {
        for (std::int64_t row = 0; row < block.rows; ++row) {
            const T* const best = row_best_.data() + slot * lanes_ + row * kernels_.lanes;
            const Index<T>* const at = row_at_.data() + slot * lanes_ + row * kernels_.lanes;
            int lane = 0;
            for (int other = 1; other < kernels_.lanes; ++other) {
                lane = best[other] > best[lane] || (best[other] == best[lane] && at[other] < at[lane]) ? other : lane;
            }
            if (best[lane] > out_.row_values[block.first_row + row]) {
                out_.row_values[block.first_row + row] = best[lane];
                out_.row_indices[block.first_row + row] = at[lane];
            }
        }
    }

private:
    void keep_own(const Block<T>& block) const {
        const std::int64_t last =
            std::min({block.first_row + block.rows, block.first_column + block.columns, columns_});
        for (std::int64_t i = std::max(block.first_row, block.first_column); i < last; ++i) {
            out_.own[i] = block.scores[(i - block.first_row) * block.stride + i - block.first_column];
        }
    }

    static constexpr T none = -std::numeric_limits<T>::infinity();
    BlockLoop<T, P> loop_;
    const HardestKernels<T>& kernels_;
    Margins<T> margins_;
    Hardest<T> out_;
    std::int64_t rows_, columns_, padded_, lanes_;
    Ids<T> ids_;
    std::vector<T> column_best_, row_best_;
    std::vector<Index<T>> column_at_, row_at_;
};

} // namespace pcsr

#include "screened_search.h"

#include "bounds.h"
#include "full_search.h"

#include <cfloat>
#include <cmath>

namespace pcsr {
namespace {

constexpr double searched_in_full = 1.0 / 64; // share of rows and columns from which on the screen has not paid off

// The largest float that surely lies below all scores that may still win.
float floor_of(float best, double bound) {
    const double floor = static_cast<double>(best) - 2 * bound;
    return std::max(std::nextafter(static_cast<float>(std::max<double>(floor, -FLT_MAX)), -FLT_MAX), -FLT_MAX);
}

class ScreenedSearch final : public BlockVisitor<float> {
public:
    ScreenedSearch(const HalfKernels& products, const Matrix& x, const Matrix& y, const Groups& groups,
                   const Margins<float>& margins, const Hardest<float>& out)
        : x_(x), y_(y), margins_(margins), out_(out), loop_(products, x, y, cut), padded_(loop_.padded_columns()),
          ids_(ids_of<float>(groups, x.rows, y.rows, padded_)), bounds_(x, y, largest_margin(margins, x.rows, y.rows)) {
        bounds_.columns.resize(padded_);
    }

    bool run() {
        if (!bounds_.valid) {
            return false;
        }
        const std::size_t columns = static_cast<std::size_t>(padded_) * loop_.parts();
        row_best_.assign(x_.rows, none);
        column_best_.assign(columns, none);
        column_floor_.resize(columns);
        rows_.resize(x_.rows);
        columns_.resize(columns);
        row_lanes_.resize(static_cast<std::size_t>(loop_.block_rows()) * avx512::screen.lanes * loop_.threads());
        row_floor_.resize(static_cast<std::size_t>(loop_.block_rows()) * loop_.threads());
        loop_.run(*this);
        gather_columns();
        if (overflowed() > searched_in_full * static_cast<double>(x_.rows + y_.rows)) {
            return false;
        }
        decide();
        return true;
    }

    void begin_rows(int slot, std::int64_t, std::int64_t rows) override {
        std::fill_n(lanes_of(slot), rows * avx512::screen.lanes, none);
    }

    void visit(int part, int slot, const Block<float>& block) override {
        if (margins_.shift != Shift::none) {
            add_margins(block, margins_, y_.rows);
        }
        avx512::screen.raise(block, state(part, slot, block));
    }

    void end_rows(int part, int slot, const Block<float>& block) override {
        const ScreenState now = state(part, slot, block);
        for (std::int64_t row = 0; row < block.rows; ++row) {
            const float* const lanes = now.row_best + row * avx512::screen.lanes;
            float& best = row_best_[block.first_row + row];
            best = std::max(best, *std::max_element(lanes, lanes + avx512::screen.lanes));
            row_floor_[slot * loop_.block_rows() + row] = floor_of(best, bounds_.rows[block.first_row + row]);
        }
        float* const floor = column_floor_.data() + part * padded_ + block.first_column;
        for (std::int64_t column = 0; column < block.columns; ++column) {
            floor[column] = floor_of(now.column_best[column], bounds_.columns[block.first_column + column]);
        }
        avx512::screen.collect(block, now);
    }

private:
    static double largest_margin(const Margins<float>& margins, std::int64_t rows, std::int64_t columns) {
        double largest = 0;
        const std::int64_t count = margins.shift == Shift::none ? 0 : margins.shift == Shift::row ? rows : columns;
        for (std::int64_t row = 0; row < (margins.shift == Shift::matrix ? rows : 1); ++row) {
            for (std::int64_t i = 0; i < count; ++i) {
                const double value = std::fabs(margins.values[row * margins.stride + i]);
                largest = value <= largest ? largest : value; // so that a NaN stays
            }
        }
        return largest;
    }

    float* lanes_of(int slot) { return row_lanes_.data() + slot * loop_.block_rows() * avx512::screen.lanes; }

    ScreenState state(int part, int slot, const Block<float>& block) {
        const std::int64_t column = part * padded_ + block.first_column;
        return {ids_.rows.data() + block.first_row,
                ids_.columns.data() + block.first_column,
                lanes_of(slot),
                column_best_.data() + column,
                row_floor_.data() + slot * loop_.block_rows(),
                column_floor_.data() + column,
                rows_.data() + block.first_row,
                columns_.data() + column};
    }

    // What the parts found for a column, brought together in its first list.
    void gather_columns() {
        for (std::int64_t column = 0; column < y_.rows; ++column) {
            Candidates all{};
            float best = none;
            for (int part = 0; part < loop_.parts(); ++part) {
                best = std::max(best, column_best_[part * padded_ + column]);
            }
            const float floor = floor_of(best, bounds_.columns[column]);
            for (int part = 0; part < loop_.parts(); ++part) {
                add(all, columns_[part * padded_ + column], floor);
            }
            columns_[column] = all;
        }
        for (std::int64_t row = 0; row < x_.rows; ++row) {
            Candidates all{};
            add(all, rows_[row], floor_of(row_best_[row], bounds_.rows[row]));
            rows_[row] = all;
        }
    }

    static void add(Candidates& to, const Candidates& from, float floor) {
        if (from.count > candidate_slots) {
            to.count = candidate_slots + 1;
        }
        for (std::int32_t i = 0; i < from.count && to.count <= candidate_slots; ++i) {
            if (from.score[i] >= floor && to.count++ < candidate_slots) {
                to.at[to.count - 1] = from.at[i];
            }
        }
    }

    double overflowed() const {
        const auto full = [](const Candidates& list) { return list.count > candidate_slots; };
        return static_cast<double>(std::count_if(rows_.begin(), rows_.end(), full) +
                                   std::count_if(columns_.begin(), columns_.begin() + y_.rows, full));
    }

    // Exact scores of the candidates; those of several anchors at once, as their sums wait less then.
    void decide() {
        constexpr std::int64_t at_once = 32;
#pragma omp parallel for num_threads(loop_.threads())
        for (std::int64_t first = 0; first < x_.rows; first += at_once) {
            decide(rows_, first, std::min(first + at_once, x_.rows), true);
        }
#pragma omp parallel for num_threads(loop_.threads())
        for (std::int64_t first = 0; first < y_.rows; first += at_once) {
            decide(columns_, first, std::min(first + at_once, y_.rows), false);
        }
        if (out_.own != nullptr) {
            own_scores(x_, y_, out_.own);
        }
    }

    void decide(const std::vector<Candidates>& lists, std::int64_t first, std::int64_t last, bool by_row) const {
        std::vector<std::int64_t> anchors, others;
        for (std::int64_t anchor = first; anchor < last; ++anchor) {
            const Candidates& list = lists[anchor];
            const bool all = list.count > candidate_slots; // too many to tell apart: look at every one
            const std::int64_t count = all ? (by_row ? y_.rows : x_.rows) : list.count;
            for (std::int64_t i = 0; i < count; ++i) {
                anchors.push_back(anchor);
                others.push_back(all ? i : list.at[i]);
            }
            (by_row ? out_.row_values : out_.column_values)[anchor] = none;
            (by_row ? out_.row_indices : out_.column_indices)[anchor] = -1;
        }
        const auto& rows = by_row ? anchors : others;
        const auto& columns = by_row ? others : anchors;
        std::vector<float> scores(rows.size());
        dot_kernels<float>().dots(x_, rows.data(), y_, columns.data(), static_cast<std::int64_t>(rows.size()),
                                  scores.data());
        for (std::size_t i = 0; i < scores.size(); ++i) {
            if (ids_.rows[rows[i]] != ids_.columns[columns[i]]) {
                offer(anchors[i], others[i], shifted(scores[i], rows[i], columns[i]), by_row);
            }
        }
    }

    void offer(std::int64_t anchor, std::int64_t other, float score, bool by_row) const {
        float& best = (by_row ? out_.row_values : out_.column_values)[anchor];
        std::int64_t& at = (by_row ? out_.row_indices : out_.column_indices)[anchor];
        if (score > best || (score == best && other < at)) {
            best = score;
            at = other;
        }
    }

    float shifted(float score, std::int64_t row, std::int64_t column) const {
        switch (margins_.shift) {
        case Shift::row:
            return score + margins_.values[row];
        case Shift::column:
            return score + margins_.values[column];
        case Shift::matrix:
            return score + margins_.values[row * margins_.stride + column];
        default:
            return score;
        }
    }

    static constexpr float none = -std::numeric_limits<float>::infinity();
    static constexpr Cut cut{2 << 20, 256 << 10, 128, 0, true};
    Matrix x_, y_;
    Margins<float> margins_;
    Hardest<float> out_;
    BlockLoop<float, std::uint16_t> loop_;
    std::int64_t padded_;
    Ids<float> ids_;
    ErrorBounds bounds_;
    std::vector<float> row_best_, column_best_, row_floor_, column_floor_, row_lanes_;
    std::vector<Candidates> rows_, columns_;
};

} // namespace

bool find_hardest_screened(const HalfKernels& products, const Matrix& x, const Matrix& y, const Groups& groups,
                           const Margins<float>& margins, const Hardest<float>& out) {
    return ScreenedSearch(products, x, y, groups, margins, out).run();
}

} // namespace pcsr

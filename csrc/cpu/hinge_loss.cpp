#include "hinge_loss.h"

#include "full_search.h"
#include "gradient.h"
#include "hinge.h"

namespace pcsr {
namespace {

template <typename T>
const HingeKernels<T>& hinge_kernels() {
    return of_type<T>(PCSR_TABLE(hinge_f32), PCSR_TABLE(hinge_f64));
}

template <typename T>
constexpr T lowest = -std::numeric_limits<T>::infinity();

// What every pass needs: ids and thresholds (own score less the margin), padded to whole panels.
template <typename T>
struct Thresholds {
    explicit Thresholds(const HingeProblem<T>& problem)
        : padded(round_up(problem.y.rows, 64)),
          ids(ids_of<T>({problem.groups, problem.groups}, problem.x.rows, problem.y.rows, padded)),
          rows(static_cast<std::size_t>(padded)), columns(static_cast<std::size_t>(padded)) {
        const std::int64_t count = problem.x.rows;
        if (problem.ready.data != nullptr) {
            for (std::int64_t i = 0; i < count; ++i) {
                gradient_kernels<T>().add_row(problem.ready, i, i, 1, T(1), rows.data() + i);
            }
        } else {
            own_scores(problem.x, problem.y, rows.data());
        }
        for (std::int64_t i = 0; i < count; ++i) {
            const T own = rows[i];
            rows[i] = own - (problem.row_margin == nullptr ? T(0) : problem.row_margin[i]);
            columns[i] = own - (problem.column_margin == nullptr ? T(0) : problem.column_margin[i]);
        }
    }

    std::int64_t padded;
    Ids<T> ids;
    std::vector<T> rows, columns;
};

template <typename T>
class HingePass : public BlockVisitor<T> {
public:
    HingePass(const HingeProblem<T>& problem, const Thresholds<T>& thresholds, int parts)
        : problem_(problem), thresholds_(thresholds), kernels_(hinge_kernels<T>()),
          loop_(product_kernels<T>(), problem.x, problem.y, make_cut(parts), problem.ready) {}

protected:
    static Cut make_cut(int parts) {
        Cut cut;
        cut.parts = parts;
        return cut;
    }

    void shift(const Block<T>& block) const {
        if (problem_.shift.shift != Shift::none) {
            add_margins(block, problem_.shift, problem_.y.rows);
        }
    }

    const HingeProblem<T>& problem_;
    const Thresholds<T>& thresholds_;
    const HingeKernels<T>& kernels_;
    BlockLoop<T> loop_;
};

// Sums of all hinges: in T within a block, in float64 beyond, over parts that do not depend on the number of threads.
template <typename T>
class SumPass final : public HingePass<T> {
public:
    SumPass(const HingeProblem<T>& problem, const Thresholds<T>& thresholds)
        : HingePass<T>(problem, thresholds, fixed_parts), padded_(thresholds.padded) {
        const auto slots = static_cast<std::size_t>(this->loop_.threads());
        lane_sums_.resize(static_cast<std::size_t>(this->loop_.block_rows() * this->kernels_.lanes) * slots);
        block_sums_.assign(static_cast<std::size_t>(padded_) * slots, T(0));
        row_sums_.assign(static_cast<std::size_t>(problem.x.rows), 0.0);
        column_sums_.assign(static_cast<std::size_t>(padded_ * this->loop_.parts()), 0.0);
    }

    void run(T* row, T* column) {
        this->loop_.run(*this);
        for (std::int64_t i = 0; i < this->problem_.x.rows; ++i) {
            double sum = 0;
            for (int part = 0; part < this->loop_.parts(); ++part) {
                sum += column_sums_[part * padded_ + i];
            }
            row[i] = finite(row_sums_[i], this->thresholds_.rows[i]);
            column[i] = finite(sum, this->thresholds_.columns[i]);
        }
    }

    void begin_rows(int slot, std::int64_t, std::int64_t rows) override {
        std::fill_n(lanes_of(slot), rows * this->kernels_.lanes, T(0));
    }

    void visit(int, int slot, const Block<T>& block) override {
        this->shift(block);
        const auto& ids = this->thresholds_.ids;
        const std::int64_t row = block.first_row, column = block.first_column;
        this->kernels_.sum(block, {ids.rows.data() + row, ids.columns.data() + column,
                                   this->thresholds_.rows.data() + row, this->thresholds_.columns.data() + column,
                                   lanes_of(slot), block_sums_.data() + slot * padded_ + column});
    }

    void end_rows(int part, int slot, const Block<T>& block) override {
        for (std::int64_t row = 0; row < block.rows; ++row) {
            const T* const sums = lanes_of(slot) + row * this->kernels_.lanes;
            row_sums_[block.first_row + row] += std::accumulate(sums, sums + this->kernels_.lanes, 0.0);
        }
        const std::int64_t first = block.first_column;
        const std::int64_t last = first + block.columns;
        for (std::int64_t column = first; column < last; ++column) {
            T& sum = block_sums_[slot * padded_ + column];
            column_sums_[part * padded_ + column] += sum;
            sum = 0;
        }
    }

private:
    T* lanes_of(int slot) { return lane_sums_.data() + slot * this->loop_.block_rows() * this->kernels_.lanes; }

    // A pair that is not finite has no loss that is.
    T finite(double sum, T threshold) const {
        return threshold == threshold ? static_cast<T>(sum * this->problem_.weight) : threshold;
    }

    std::int64_t padded_;
    std::vector<T> lane_sums_, block_sums_;
    std::vector<double> row_sums_, column_sums_;
};

// The largest scores of one side, k of each anchor.
template <typename T>
struct Tops {
    Tops(std::int64_t anchors, std::int64_t k)
        : k(k), scores(static_cast<std::size_t>(anchors * k), lowest<T>), at(scores.size(), Index<T>(-1)) {}

    std::int64_t found(std::int64_t anchor) const {
        const Index<T>* const places = at.data() + anchor * k;
        return std::count_if(places, places + k, [](Index<T> place) { return place >= 0; });
    }

    std::int64_t k;
    std::vector<T> scores;
    std::vector<Index<T>> at;
};

template <typename T>
class TopPass final : public HingePass<T> {
public:
    TopPass(const HingeProblem<T>& problem, const Thresholds<T>& thresholds)
        : HingePass<T>(problem, thresholds, 0), rows(problem.x.rows, problem.top), columns(problem.y.rows, problem.top),
          padded_(thresholds.padded), all_columns_(padded_ * this->loop_.parts(), problem.top),
          least_(static_cast<std::size_t>(padded_ * this->loop_.parts()), lowest<T>) {
        this->loop_.run(*this);
        for (std::int64_t column = 0; column < problem.y.rows; ++column) {
            gather(column);
        }
    }

    void begin_rows(int, std::int64_t, std::int64_t) override {}

    void visit(int part, int, const Block<T>& block) override {
        this->shift(block);
        const auto& ids = this->thresholds_.ids;
        const std::int64_t row = block.first_row, column = part * padded_ + block.first_column, k = rows.k;
        this->kernels_.keep_top(block, {ids.rows.data() + row, ids.columns.data() + block.first_column, k,
                                        rows.scores.data() + row * k, rows.at.data() + row * k,
                                        all_columns_.scores.data() + column * k, all_columns_.at.data() + column * k,
                                        least_.data() + column});
    }

    void end_rows(int, int, const Block<T>&) override {}

    Tops<T> rows, columns;

private:
    // The lists of all parts of a column in one; parts rise with the rows, so that equal scores stay in order.
    void gather(std::int64_t column) {
        const std::int64_t k = rows.k;
        std::vector<std::pair<T, Index<T>>> all;
        for (int part = 0; part < this->loop_.parts(); ++part) {
            for (std::int64_t i = (part * padded_ + column) * k; i < (part * padded_ + column + 1) * k; ++i) {
                all.emplace_back(all_columns_.scores[i], all_columns_.at[i]);
            }
        }
        std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
        for (std::int64_t i = 0; i < k; ++i) {
            columns.scores[column * k + i] = all[i].first;
            columns.at[column * k + i] = all[i].second;
        }
    }

    std::int64_t padded_;
    Tops<T> all_columns_;
    std::vector<T> least_;
};

template <typename T>
void mean_of_tops(const Tops<T>& tops, const std::vector<T>& thresholds, std::int64_t count, T* out) {
    for (std::int64_t anchor = 0; anchor < count; ++anchor) {
        const std::int64_t found = tops.found(anchor);
        double sum = 0;
        for (std::int64_t i = 0; i < found; ++i) {
            sum += std::max(tops.scores[anchor * tops.k + i] - thresholds[anchor], T(0));
        }
        const T threshold = thresholds[anchor];
        out[anchor] =
            threshold == threshold ? static_cast<T>(found == 0 ? 0 : sum / static_cast<double>(found)) : threshold;
    }
}

// What each selected active hinge weighs, and down to which entry top-k selects.
template <typename T>
struct HingeWeights {
    HingeWeights(const HingeProblem<T>& problem, const Thresholds<T>& thresholds, const T* by_row, const T* by_column)
        : row(static_cast<std::size_t>(thresholds.padded)), column(row), row_least(row.size(), lowest<T>),
          column_least(row_least), row_least_at(row.size()), column_least_at(row.size()) {
        for (std::int64_t i = 0; i < problem.x.rows; ++i) {
            row[i] = static_cast<T>(by_row[i] * problem.weight);
            column[i] = static_cast<T>(by_column[i] * problem.weight);
        }
        if (problem.top > 0) {
            const TopPass<T> tops(problem, thresholds);
            select(tops.rows, by_row, row, row_least, row_least_at);
            select(tops.columns, by_column, column, column_least, column_least_at);
        }
    }

    HingeGradientState<T> state(const Thresholds<T>& thresholds, const Block<T>& block, T* const (&row_sums)[2],
                                T* const (&column_sums)[2]) const {
        const std::int64_t i = block.first_row, j = block.first_column;
        return {thresholds.ids.rows.data() + i,
                thresholds.ids.columns.data() + j,
                {thresholds.rows.data() + i, row.data() + i, row_least.data() + i, row_least_at.data() + i},
                {thresholds.columns.data() + j, column.data() + j, column_least.data() + j, column_least_at.data() + j},
                {row_sums[0], row_sums[1]},
                {column_sums[0] + j, column_sums[1] + j}};
    }

    std::vector<T> row, column, row_least, column_least;
    std::vector<Index<T>> row_least_at, column_least_at;

private:
    // Only what the loss took the mean of weighs, down to the last entry of each list.
    static void select(const Tops<T>& tops, const T* upstream, std::vector<T>& weight, std::vector<T>& least,
                       std::vector<Index<T>>& least_at) {
        const auto anchors = static_cast<std::int64_t>(tops.scores.size()) / tops.k;
        for (std::int64_t anchor = 0; anchor < anchors; ++anchor) {
            const std::int64_t found = tops.found(anchor);
            weight[anchor] = found == 0 ? T(0) : upstream[anchor] / static_cast<T>(found);
            if (found == tops.k) {
                least[anchor] = tops.scores[(anchor + 1) * tops.k - 1];
                least_at[anchor] = tops.at[(anchor + 1) * tops.k - 1];
            }
        }
    }
};

template <typename T>
class HingeTurn final : public ScoreGradient<T> {
public:
    HingeTurn(const HingeProblem<T>& problem, const Thresholds<T>& thresholds, const T* by_row, const T* by_column,
              double* sums, T* matrix)
        : problem_(problem), thresholds_(thresholds), kernels_(hinge_kernels<T>()),
          weights_(problem, thresholds, by_row, by_column), sums_(sums), matrix_(matrix),
          column_sums_(2 * weights_.row.size()),
          panel_sums_(static_cast<std::size_t>(2 * GradientLoop<T>::most_rows * panels)) {
        std::fill_n(sums, 4 * problem.x.rows, 0.0);
    }

    void turn(const Block<T>& block) override {
        if (problem_.shift.shift != Shift::none) {
            add_margins(block, problem_.shift, problem_.y.rows);
        }
        T* const panel = panel_sums_.data() + panel_of(block.first_column) * 2 * GradientLoop<T>::most_rows;
        kernels_.turn(block, weights_.state(thresholds_, block, {panel, panel + GradientLoop<T>::most_rows},
                                            {column_sums_.data(), column_sums_.data() + weights_.row.size()}));
    }

    void finish(const Block<T>& block) override {
        const std::int64_t count = problem_.x.rows, padded = thresholds_.padded;
        for (std::int64_t column = 0; column < block.columns; column += panel_columns()) {
            const T* const panel = panel_sums_.data() + panel_of(column) * 2 * GradientLoop<T>::most_rows;
            for (std::int64_t row = 0; row < block.rows; ++row) {
                sums_[block.first_row + row] += panel[row];
                sums_[count + block.first_row + row] += panel[GradientLoop<T>::most_rows + row];
            }
        }
        for (std::int64_t column = block.first_column; column < block.first_column + block.columns; ++column) {
            sums_[2 * count + column] += column_sums_[column];
            sums_[3 * count + column] += column_sums_[padded + column];
            column_sums_[column] = column_sums_[padded + column] = 0;
        }
        for (std::int64_t row = 0; matrix_ != nullptr && row < block.rows; ++row) {
            std::copy_n(block.scores + row * block.stride, block.columns,
                        matrix_ + (block.first_row + row) * count + block.first_column);
        }
    }

private:
    static std::int64_t panel_columns() { return product_kernels<T>().panel_columns; }
    static constexpr std::int64_t panels = GradientLoop<T>::most_columns / 4; // no panel is narrower than 4 columns
    static std::int64_t panel_of(std::int64_t column) {
        return column % GradientLoop<T>::most_columns / panel_columns();
    }

    const HingeProblem<T>& problem_;
    const Thresholds<T>& thresholds_;
    const HingeKernels<T>& kernels_;
    HingeWeights<T> weights_;
    double* sums_;
    T* matrix_;
    std::vector<T> column_sums_, panel_sums_;
};

// The same for ready-made scores: dS is written where it belongs.
template <typename T>
class ScoreTurn final : public HingePass<T> {
public:
    ScoreTurn(const HingeProblem<T>& problem, const Thresholds<T>& thresholds, const T* by_row, const T* by_column,
              T* dS)
        : HingePass<T>(problem, thresholds, fixed_parts), weights_(problem, thresholds, by_row, by_column), dS_(dS),
          row_sums_(static_cast<std::size_t>(2 * this->loop_.block_rows() * this->loop_.threads())),
          column_sums_(static_cast<std::size_t>(2 * thresholds.padded * this->loop_.parts())) {}

    void run(double* own) {
        own_ = own;
        const std::int64_t count = this->problem_.x.rows, padded = this->thresholds_.padded;
        std::fill_n(own, count, 0.0);
        this->loop_.run(*this);
        for (int part = 0; part < this->loop_.parts(); ++part) {
            for (std::int64_t column = 0; column < count; ++column) {
                own[column] += column_sums_[(2 * part + 1) * padded + column];
            }
        }
    }

    void begin_rows(int, std::int64_t, std::int64_t) override {}

    void visit(int part, int slot, const Block<T>& block) override {
        this->shift(block);
        T* const rows = row_sums_.data() + 2 * slot * this->loop_.block_rows();
        T* const columns = column_sums_.data() + 2 * part * this->thresholds_.padded;
        this->kernels_.turn(block, weights_.state(this->thresholds_, block, {rows, rows + this->loop_.block_rows()},
                                                  {columns, columns + this->thresholds_.padded}));
        const std::int64_t count = this->problem_.x.rows, inside = std::min(block.columns, count - block.first_column);
        for (std::int64_t row = 0; row < block.rows; ++row) {
            own_[block.first_row + row] += rows[row];
            std::copy_n(block.scores + row * block.stride, inside,
                        dS_ + (block.first_row + row) * count + block.first_column);
        }
    }

    void end_rows(int, int, const Block<T>&) override {}

private:
    HingeWeights<T> weights_;
    T* dS_;
    double* own_ = nullptr;
    std::vector<T> row_sums_, column_sums_;
};

} // namespace

template <typename T>
void hinge_loss(const HingeProblem<T>& problem, T* row, T* column) {
    const Thresholds<T> thresholds(problem);
    if (problem.top == 0) {
        SumPass<T>(problem, thresholds).run(row, column);
        return;
    }
    const TopPass<T> tops(problem, thresholds);
    mean_of_tops(tops.rows, thresholds.rows, problem.x.rows, row);
    mean_of_tops(tops.columns, thresholds.columns, problem.x.rows, column);
}

template <typename T>
void hinge_gradient(const HingeProblem<T>& problem, const T* by_row, const T* by_column, T* dx, T* dy, double* sums,
                    T* matrix) {
    const Thresholds<T> thresholds(problem);
    HingeTurn<T> turn(problem, thresholds, by_row, by_column, sums, matrix);
    GradientLoop<T>(problem.x, problem.y).run(turn, dx, dy);
}

template <typename T>
void hinge_score_gradient(const HingeProblem<T>& problem, const T* by_row, const T* by_column, T* dS, double* own) {
    const Thresholds<T> thresholds(problem);
    ScoreTurn<T>(problem, thresholds, by_row, by_column, dS).run(own);
}

template void hinge_score_gradient<float>(const HingeProblem<float>&, const float*, const float*, float*, double*);
template void hinge_score_gradient<double>(const HingeProblem<double>&, const double*, const double*, double*, double*);
template void hinge_loss<float>(const HingeProblem<float>&, float*, float*);
template void hinge_loss<double>(const HingeProblem<double>&, double*, double*);
template void hinge_gradient<float>(const HingeProblem<float>&, const float*, const float*, float*, float*, double*,
                                    float*);
template void hinge_gradient<double>(const HingeProblem<double>&, const double*, const double*, double*, double*,
                                     double*, double*);

} // namespace pcsr

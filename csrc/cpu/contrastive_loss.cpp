#include "contrastive_loss.h"

#include "contrastive_pass.h"
#include "contrastive_terms.h"
#include "gradient.h"
#include "ids.h"

namespace pcsr {
namespace {

double factor_of(const ContrastiveOptions& options) {
    const bool halved =
        options.kind == Contrast::infonce || options.kind == Contrast::rce || options.kind == Contrast::gce_infonce;
    return halved ? 0.5 : 1;
}

// The statistics of one direction.
template <typename T>
struct Statistics {
    T* values;
    std::int64_t count;
    double temperature;

    T* number(int k) const { return values + k * count; }
    Softmax softmax(std::int64_t i) const {
        return {double(values[i]), double(values[count + i]), double(values[2 * count + i]), temperature};
    }
    double own(std::int64_t i) const { return double(values[3 * count + i]); }
    double first(std::int64_t i) const { return double(values[4 * count + i]); }
    double second(std::int64_t i) const { return double(values[5 * count + i]); }
    void set(std::int64_t i, const Softmax& softmax, double own, double first, double second) const {
        const double all[] = {softmax.top, softmax.second, softmax.rest, own, first, second};
        for (int k = 0; k < contrastive_statistics; ++k) {
            number(k)[i] = static_cast<T>(all[k]);
        }
    }
};

template <typename T>
class Forward {
public:
    Forward(const Matrix& x, const Matrix& y, const Groups& groups, const ContrastiveOptions& options, T* losses,
            T* statistics)
        : options_(options), count_(x.rows), grouped_(groups.rows != nullptr), loop_(product_kernels<T>(), x, y, cut()),
          ids_(ids_of<T>(groups, count_, count_, loop_.padded_columns())), own_(static_cast<std::size_t>(count_)),
          losses_(losses), statistics_(statistics) {
        std::fill_n(losses, count_, T(0));
    }

    void run() {
        const ContrastiveKernels<T>& kernels = contrastive_kernels<T>();
        Gathering<T> negatives(loop_, count_, Gathered::softmax, kernels.softmax);
        if (options_.kind == Contrast::tal) {
            run_tal(negatives);
            return;
        }
        pass(known(nullptr, nullptr, 0), own_.data(), {&negatives});
        finish_softmax(statistics(0), negatives.rows());
        finish_softmax(statistics(1), negatives.columns());
        if (is_complementary(options_.kind)) {
            run_complement();
        }
    }

private:
    static Cut cut() {
        Cut cut;
        cut.parts = fixed_parts;
        return cut;
    }

    ContrastiveBlock<T> known(const T* rows, const T* columns, std::int64_t stride) const {
        return {ids_.rows.data(),           ids_.columns.data(), static_cast<T>(1 / options_.temperature),
                static_cast<T>(options_.q), {rows, stride},      {columns, stride}};
    }

    Statistics<T> statistics(int direction) const {
        return {statistics_ + direction * contrastive_statistics * count_, count_, options_.temperature};
    }

    void pass(const ContrastiveBlock<T>& known, T* own, const std::vector<Gathering<T>*>& all) {
        ContrastivePass<T>(known, count_, own).run(loop_, all);
    }

    Softmax gathered(const Table<const T>& from, std::int64_t i) const {
        return {double(from.values[i]), double(from.values[from.stride + i]), double(from.values[2 * from.stride + i]),
                options_.temperature};
    }

    void finish_softmax(const Statistics<T>& out, const Table<const T>& negatives) {
        for (std::int64_t i = 0; i < count_; ++i) {
            Softmax softmax = gathered(negatives, i);
            softmax.add(double(own_[i]));
            out.set(i, softmax, double(own_[i]), 0, 0);
            if (!is_complementary(options_.kind)) {
                losses_[i] += static_cast<T>(factor_of(options_) * own_value(options_, softmax, double(own_[i])));
            }
        }
    }

    void run_tal(Gathering<T>& negatives) {
        if (!grouped_) {
            pass(known(nullptr, nullptr, 0), own_.data(), {&negatives});
            finish_tal(statistics(0), negatives.rows(), nullptr);
            finish_tal(statistics(1), negatives.columns(), nullptr);
            return;
        }
        Gathering<T> positives(loop_, count_, Gathered::weighted, contrastive_kernels<T>().weighted);
        pass(known(nullptr, nullptr, 0), nullptr, {&negatives, &positives});
        const Table<const T> rows = positives.rows(), columns = positives.columns();
        finish_tal(statistics(0), negatives.rows(), &rows);
        finish_tal(statistics(1), negatives.columns(), &columns);
    }

    // Without `positives` a pair's own score is the only one.
    void finish_tal(const Statistics<T>& out, const Table<const T>& negatives, const Table<const T>* positives) {
        for (std::int64_t i = 0; i < count_; ++i) {
            double largest = double(own_[i]), sum = 1, mean = largest;
            if (positives != nullptr) {
                largest = double(positives->values[i]);
                sum = double(positives->values[2 * positives->stride + i]);
                mean = largest + double(positives->values[positives->stride + i]) / sum;
            }
            const Softmax softmax = gathered(negatives, i);
            const double value = tal_value(options_, softmax, mean);
            out.set(i, softmax, largest, sum, value);
            losses_[i] += static_cast<T>(value);
        }
    }

    void run_complement() {
        const std::int64_t padded = loop_.padded_columns();
        std::vector<T> all(static_cast<std::size_t>(2 * known_of_sums * padded));
        T* const by_side[] = {all.data(), all.data() + known_of_sums * padded};
        for (int side = 0; side < 2; ++side) {
            for (std::int64_t i = 0; i < count_; ++i) {
                const Softmax softmax = statistics(side).softmax(i);
                by_side[side][i] = static_cast<T>(softmax.top);
                by_side[side][padded + i] = static_cast<T>(softmax.second);
                by_side[side][2 * padded + i] = static_cast<T>(softmax.scale());
            }
        }
        const Complement kind = complement_of(options_.kind);
        Gathering<T> sums(loop_, count_, Gathered::complement,
                          contrastive_kernels<T>().complement[static_cast<int>(kind)]);
        pass(known(by_side[0], by_side[1], padded), nullptr, {&sums});
        finish_complement(statistics(0), sums.rows());
        finish_complement(statistics(1), sums.columns());
    }

    void finish_complement(const Statistics<T>& out, const Table<const T>& sums) {
        for (std::int64_t i = 0; i < count_; ++i) {
            const T value = sums.values[i], slope = sums.values[sums.stride + i],
                    top = sums.values[2 * sums.stride + i];
            out.number(4)[i] = slope;
            out.number(5)[i] = top;
            const double of_top =
                top > 0 ? top * top_terms(out.softmax(i), complement_of(options_.kind), options_.q).value : 0;
            losses_[i] += static_cast<T>(value + of_top);
        }
    }

    ContrastiveOptions options_;
    std::int64_t count_;
    bool grouped_;
    BlockLoop<T> loop_;
    Ids<T> ids_;
    std::vector<T> own_;
    T* losses_;
    T* statistics_;
};

template <typename T>
class Backward final : public ScoreGradient<T> {
public:
    Backward(const Matrix& x, const Groups& groups, const ContrastiveOptions& options, const T* upstream,
             const T* statistics)
        : options_(options), count_(x.rows), padded_(round_up(count_, product_kernels<T>().panel_columns)),
          ids_(ids_of<T>(groups, count_, count_, padded_)), known_(static_cast<std::size_t>(2 * side())),
          own_(static_cast<std::size_t>(count_)), turn_(contrastive_kernels<T>().softmax_gradient) {
        if (is_complementary(options.kind)) {
            turn_ = contrastive_kernels<T>().complement_gradient[static_cast<int>(complement_of(options.kind))];
        }
        for (int direction = 0; direction < 2; ++direction) {
            const T* const values = statistics + direction * contrastive_statistics * count_;
            T* const known = known_.data() + direction * side();
            for (std::int64_t i = 0; i < count_; ++i) {
                const double factor = factor_of(options) * double(upstream[i]);
                prepare({values, count_, options.temperature}, i, factor, known + i);
            }
        }
    }

    void turn(const Block<T>& block) override {
        const ContrastiveBlock<T> known{
            ids_.rows.data(),           ids_.columns.data(),      static_cast<T>(1 / options_.temperature),
            static_cast<T>(options_.q), {known_.data(), padded_}, {known_.data() + side(), padded_}};
        turn_(block, at(known, block));
        if (options_.kind != Contrast::tal) {
            visit_own(block, count_, [this](std::int64_t i, T* slope) { *slope = static_cast<T>(own_[i]); });
        }
    }

private:
    std::int64_t side() const { return known_of_complement * padded_; }

    template <std::size_t count>
    void put(T* known, const double (&values)[count]) const {
        for (std::size_t k = 0; k < count; ++k) {
            known[static_cast<std::int64_t>(k) * padded_] = static_cast<T>(values[k]);
        }
    }

    void prepare(const Statistics<const T>& from, std::int64_t i, double factor, T* known) {
        if (options_.kind == Contrast::tal) {
            prepare_tal(from, i, factor, known);
        } else if (is_complementary(options_.kind)) {
            prepare_complement(from, i, factor / options_.temperature, known);
        } else {
            const Softmax softmax = from.softmax(i);
            const double slope = factor / options_.temperature * own_slope(options_, softmax, from.own(i));
            put(known, {softmax.top, -slope / softmax.total(), nowhere, 0});
            own_[i] += slope * softmax.rest_of(from.own(i));
        }
    }

    void prepare_tal(const Statistics<const T>& from, std::int64_t i, double factor, T* known) {
        if (from.second(i) <= 0) {
            put(known, {nowhere, 0, nowhere, 0});
        } else {
            const Softmax negatives = from.softmax(i);
            put(known, {negatives.top, factor / negatives.total(), from.own(i), -factor / from.first(i)});
        }
    }

    void prepare_complement(const Statistics<const T>& from, std::int64_t i, double factor, T* known) {
        const Softmax softmax = from.softmax(i);
        const double slopes = from.first(i), tops = from.second(i), p_top = 1 / softmax.total();
        const double base = tops > 0 ? top_terms(softmax, complement_of(options_.kind), options_.q).base : 0;
        // Where several are the largest, each loses to the others.
        const double to_top = tops > 1 ? (tops - 1) * base / softmax.others() : 0;
        const double to_others = tops > 0 ? tops * base / softmax.rest : 0;
        put(known,
            {softmax.top, softmax.second, softmax.scale(), slopes, to_others, base - p_top * slopes - to_top, factor});
        const double own = from.own(i);
        const double below = own == softmax.top ? (tops > 0 ? tops * base / softmax.others() : 0)
                                                : std::exp((own - softmax.second) / options_.temperature) * to_others;
        own_[i] -= factor * (std::exp(softmax.log_of(own)) * slopes + below);
    }

    static constexpr double nowhere = double(std::numeric_limits<T>::max()); // above every score: exp(-infinity)
    ContrastiveOptions options_;
    std::int64_t count_, padded_;
    Ids<T> ids_;
    std::vector<T> known_;
    std::vector<double> own_;
    typename ContrastiveKernels<T>::Turn turn_;
};

} // namespace

template <typename T>
void contrastive_loss(const Matrix& x, const Matrix& y, const Groups& groups, const ContrastiveOptions& options,
                      T* losses, T* statistics) {
    Forward<T>(x, y, groups, options, losses, statistics).run();
}

template <typename T>
void contrastive_gradient(const Matrix& x, const Matrix& y, const Groups& groups, const ContrastiveOptions& options,
                          const T* upstream, const T* statistics, T* dx, T* dy) {
    Backward<T> backward(x, groups, options, upstream, statistics);
    GradientLoop<T>(x, y).run(backward, dx, dy);
}

#define PCSR_INSTANTIATE(T)                                                                                            \
    template void contrastive_loss<T>(const Matrix&, const Matrix&, const Groups&, const ContrastiveOptions&, T*, T*); \
    template void contrastive_gradient<T>(const Matrix&, const Matrix&, const Groups&, const ContrastiveOptions&,      \
                                          const T*, const T*, T*, T*);
PCSR_INSTANTIATE(float)
PCSR_INSTANTIATE(double)

} // namespace pcsr

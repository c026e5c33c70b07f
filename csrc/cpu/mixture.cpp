#include "mixture.h"

#include "math.h"

namespace pcsr::PCSR_ISA {
namespace {

using Numbers = Vec<double>;
using Flags = Vec<std::int64_t>;
constexpr int step = lanes<double>;
// A product of this many factors in (1, 2] is below 2^1000; its logarithm replaces theirs.
constexpr std::int64_t factors = 512;
constexpr double floor_of_beta = 1e-12;
constexpr double least_exponent = -708;

typedef float Floats __attribute__((vector_size(PCSR_VECTOR_BYTES / 2), aligned(sizeof(float)), may_alias));
typedef std::int32_t Integers __attribute__((vector_size(PCSR_VECTOR_BYTES / 2), aligned(4), may_alias));

PCSR_INLINE Numbers load_numbers(const double* from) {
    return load(from);
}
PCSR_INLINE Numbers load_numbers(const float* from) {
    return __builtin_convertvector(*reinterpret_cast<const Floats*>(from), Numbers);
}

// The first `count` values, then copies of the last of them.
template <typename T>
PCSR_INLINE Numbers load_tail(const T* from, std::int64_t count) {
    T padded[step];
    for (int lane = 0; lane < step; ++lane) {
        padded[lane] = from[lane < count ? lane : count - 1];
    }
    return load_numbers(padded);
}

PCSR_INLINE double total(Numbers lanes_of_sum) {
    double sum = 0;
    for (int lane = 0; lane < step; ++lane) {
        sum += lanes_of_sum[lane];
    }
    return sum;
}

// What a finite value says: its responsibilities, and its log-likelihood as top + log(factor), factor in [1, 2].
struct Expectation {
    Numbers r[2];
    Numbers top;
    Numbers factor;
    Numbers odds; // log of r_0 / r_1
};

PCSR_INLINE Expectation compare(Numbers log0, Numbers log1) {
    const Numbers odds = log0 - log1;
    const Numbers below = (Numbers)((Vec<std::uint64_t>)odds | (std::uint64_t(1) << 63)); // -|odds|
    const Numbers smaller = exp_inside<double>(below < least_exponent ? broadcast(least_exponent) : below);
    const Numbers factor = smaller + 1.0;
    const Numbers larger_share = 1.0 / factor;
    const Numbers smaller_share = smaller * larger_share;
    const Flags first = odds > 0;
    return {{first ? larger_share : smaller_share, first ? smaller_share : larger_share},
            log0 > log1 ? log0 : log1,
            factor,
            odds};
}

PCSR_INLINE Numbers hold(Numbers x, const Components& c) {
    x = x < c.lowest ? broadcast(c.lowest) : x;
    return x > c.highest ? broadcast(c.highest) : x;
}

// Only Beta densities bound the values they are fitted to.
template <MixtureModel model>
PCSR_INLINE Numbers inside(Numbers x, const Components& c) {
    return model == MixtureModel::beta ? hold(x, c) : x;
}

template <MixtureModel model>
PCSR_INLINE Expectation expect(Numbers x, const Components& c) {
    if constexpr (model == MixtureModel::cut) {
        const Numbers low = x <= c.cut ? broadcast(1.0) : Numbers{};
        return {{low, 1.0 - low}, Numbers{}, broadcast(1.0), Numbers{}};
    } else if constexpr (model == MixtureModel::gaussian) {
        const Numbers d0 = x - c.centre[0], d1 = x - c.centre[1];
        return compare(d0 * d0 * c.first[0] + c.offset[0], d1 * d1 * c.first[1] + c.offset[1]);
    } else {
        // log(1 - x), with what the difference loses in rounding put back.
        const Numbers rest = 1.0 - x;
        const Numbers log_x = log(x), log_rest = log(rest) - ((rest - 1.0) + x) / rest;
        return compare(log_x * c.first[0] + (log_rest * c.second[0] + c.offset[0]),
                       log_x * c.first[1] + (log_rest * c.second[1] + c.offset[1]));
    }
}

struct Sums {
    Numbers mass[2] = {}, shift[2] = {}, square[2] = {}, log_likelihood = {};

    template <MixtureModel model>
    PCSR_INLINE void add(Expectation& e, Numbers x, const Components& c, Numbers weight) {
        if constexpr (model == MixtureModel::beta) {
            e.r[0] = e.r[0] < floor_of_beta ? broadcast(floor_of_beta) : e.r[0];
            e.r[1] = e.r[1] < floor_of_beta ? broadcast(floor_of_beta) : e.r[1];
            const Numbers both = 1.0 / (e.r[0] + e.r[1]);
            e.r[0] *= both;
            e.r[1] *= both;
        }
        for (int k = 0; k < 2; ++k) {
            const Numbers r = e.r[k] * weight, d = x - c.centre[k];
            mass[k] += r;
            shift[k] += r * d;
            square[k] += r * (d * d);
        }
        log_likelihood += e.top * weight;
    }
};

template <MixtureModel model, typename T>
void accumulate_as(const T* values, const double* weights, std::int64_t count, const Components& c, MixtureSums* out) {
    Sums sums;
    std::int64_t done = 0;
    const Numbers one = broadcast(1.0);
    if (weights == nullptr) {
        while (count - done >= step) {
            const std::int64_t left = (count - done) / step, vectors = left < factors ? left : factors;
            const std::int64_t end = done + vectors * step;
            Numbers product = one;
            for (; done < end; done += step) {
                const Numbers x = inside<model>(load_numbers(values + done), c);
                Expectation e = expect<model>(x, c);
                sums.add<model>(e, x, c, one);
                product *= e.factor;
            }
            sums.log_likelihood += log(product);
        }
    }
    for (; done < count; done += step) {
        const std::int64_t left = count - done < step ? count - done : step;
        double weight[step];
        for (int lane = 0; lane < step; ++lane) {
            weight[lane] = lane >= left ? 0.0 : weights == nullptr ? 1.0 : weights[done + lane];
        }
        const Numbers x = inside<model>(load_tail(values + done, left), c), w = load(weight);
        Expectation e = expect<model>(x, c);
        sums.add<model>(e, x, c, w);
        sums.log_likelihood += log(e.factor) * w;
    }
    for (int k = 0; k < 2; ++k) {
        out->mass[k] = total(sums.mass[k]);
        out->shift[k] = total(sums.shift[k]);
        out->square[k] = total(sums.square[k]);
    }
    out->log_likelihood = total(sums.log_likelihood);
}

template <MixtureModel model>
PCSR_INLINE Numbers first_share(Numbers x, const Components& c) {
    const Expectation e = expect<model>(hold(x, c), c);
    return e.odds != e.odds ? e.odds : e.r[0];
}

template <MixtureModel model, typename T>
void posterior_as(const T* values, std::int64_t count, const Components& c, double* out) {
    std::int64_t done = 0;
    for (; count - done >= step; done += step) {
        store(out + done, first_share<model>(load_numbers(values + done), c));
    }
    if (done < count) {
        const Numbers r = first_share<model>(load_tail(values + done, count - done), c);
        for (int lane = 0; done + lane < count; ++lane) {
            out[done + lane] = r[lane];
        }
    }
}

template <typename T>
void accumulate(MixtureModel model, const T* values, const double* weights, std::int64_t count, const Components& c,
                MixtureSums* out) {
    switch (model) {
    case MixtureModel::cut:
        return accumulate_as<MixtureModel::cut>(values, weights, count, c, out);
    case MixtureModel::gaussian:
        return accumulate_as<MixtureModel::gaussian>(values, weights, count, c, out);
    case MixtureModel::beta:
        return accumulate_as<MixtureModel::beta>(values, weights, count, c, out);
    }
}

template <typename T>
void posterior(MixtureModel model, const T* values, std::int64_t count, const Components& c, double* out) {
    if (model == MixtureModel::beta) {
        return posterior_as<MixtureModel::beta>(values, count, c, out);
    }
    return posterior_as<MixtureModel::gaussian>(values, count, c, out);
}

template <typename T>
void summarize(const T* values, std::int64_t count, double origin, Summary* out) {
    Numbers sum{}, low = broadcast(__builtin_inf()), high = broadcast(-__builtin_inf());
    Flags bad{};
    for (std::int64_t done = 0; done < count; done += step) {
        const bool whole = count - done >= step;
        const Numbers x = whole ? load_numbers(values + done) : load_tail(values + done, count - done);
        low = x < low ? x : low;
        high = x > high ? x : high;
        if (whole) {
            sum += x - origin;
            bad += x - x != 0;
        } else {
            for (int lane = 0; done + lane < count; ++lane) {
                sum[lane] += x[lane] - origin;
                bad[lane] -= x[lane] - x[lane] != 0;
            }
        }
    }
    *out = {0, total(sum), low[0], high[0]};
    for (int lane = 0; lane < step; ++lane) {
        out->bad -= bad[lane];
        out->low = low[lane] < out->low ? low[lane] : out->low;
        out->high = high[lane] > out->high ? high[lane] : out->high;
    }
}

PCSR_INLINE Integers bins_of(Numbers x, double low, double scale, double last) {
    Numbers place = (x - low) * scale;
    place = place < last ? place : broadcast(last);
    return __builtin_convertvector(place > 0 ? place : Numbers{}, Integers);
}

template <typename T>
void bins(const T* values, std::int64_t count, double low, double scale, std::int32_t last, std::int32_t* out) {
    std::int64_t done = 0;
    for (; count - done >= step; done += step) {
        *reinterpret_cast<Integers*>(out + done) = bins_of(load_numbers(values + done), low, scale, last);
    }
    if (done < count) {
        const Integers tail = bins_of(load_tail(values + done, count - done), low, scale, last);
        for (int lane = 0; done + lane < count; ++lane) {
            out[done + lane] = tail[lane];
        }
    }
}

template <typename T>
constexpr MixtureKernels<T> table() {
    return {summarize<T>, accumulate<T>, posterior<T>, bins<T>};
}

} // namespace

extern constexpr MixtureKernels<float> mixture_f32 = table<float>();
extern constexpr MixtureKernels<double> mixture_f64 = table<double>();

} // namespace pcsr::PCSR_ISA

#include "contrastive.h"

#include "math.h"
#include "simd.h"

namespace pcsr::PCSR_ISA {
namespace {

template <typename T>
constexpr T none = static_cast<T>(-__builtin_inf());
// Below every score, yet finite: a difference of two of them is 0 and not NaN.
template <typename T>
constexpr T bottom = sizeof(T) == sizeof(float) ? T(-1e38f) : T(-1e307);

// Subnormal numbers are 0 while one of these lives: small probabilities are full of them, and each costs a hundred
// cycles.
class NoSubnormals {
#ifdef __SSE2__
public:
    NoSubnormals() : before_(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(before_ | 0x8040); }
    ~NoSubnormals() { __builtin_ia32_ldmxcsr(before_); }

private:
    unsigned before_;
#endif
};

// Interpolated at the Chebyshev nodes, below 1e-16 (double) and 3e-9 (float) of the whole: for 0 <= p <= 1/2,
// tan(p) = p + p^3 P(p^2), and -log(1 - p) = 2 artanh(s) = 2 s + s^3 P(s^2) with s = p / (2 - p).
template <typename T>
struct Series;

template <>
struct Series<float> {
    static constexpr float tan[] = {0.0116628814f, 0.0211964748f, 0.0540323055f, 0.133331228f, 0.333333344f};
    static constexpr float artanh[] = {0.235956276f, 0.21632413f, 0.285968884f, 0.399996204f, 0.666666676f};
};

template <>
struct Series<double> {
    static constexpr double tan[] = {0.00016781091152639819, 0.00019590264281743829, 0.00060390058499071009,
                                     0.00145319694067024,    0.0035924352284295222,  0.0088632138788808654,
                                     0.021869489409125185,   0.05396825395043211,    0.13333333333347412,
                                     0.33333333333333315};
    static constexpr double artanh[] = {
        0.1672859047568722,  0.085262810612173725, 0.12056481419080705, 0.13308135209797195, 0.1538594817842271,
        0.18181775532211753, 0.22222223002882035,  0.28571428564194236, 0.4000000000002594,  0.66666666666666651};
};

template <typename T, unsigned count>
PCSR_INLINE Vec<T> polynomial(const T (&terms)[count], Vec<T> x) {
    Vec<T> value = broadcast(terms[0]);
#pragma GCC unroll 16
    for (unsigned term = 1; term < count; ++term) {
        value = value * x + terms[term];
    }
    return value;
}

// f(p), a = p f'(p) and a (1 - p) for 0 <= p <= 1/2.
template <typename T>
struct Terms {
    Vec<T> value;
    Vec<T> slope;
    Vec<T> base;
};

// -log(1 - p).
template <typename T>
PCSR_INLINE Vec<T> minus_log_of_rest(Vec<T> p) {
    const Vec<T> s = p / (T(2) - p);
    const Vec<T> square = s * s;
    return s * T(2) + s * (square * polynomial(Series<T>::artanh, square));
}

// exp(x) - 1 for -ln(2) <= x <= 0, from exp(x / 2) - 1.
template <typename T>
PCSR_INLINE Vec<T> exp_minus_one(Vec<T> x) {
    const Vec<T> r = x * T(0.5);
    const Vec<T> half = r + r * (r * polynomial(Exponential<T>::terms, r));
    return half * (half + T(2));
}

template <typename T, Complement kind>
PCSR_INLINE Terms<T> terms_of(Vec<T> p, T q) {
    if constexpr (kind == Complement::tan) {
        const Vec<T> square = p * p;
        const Vec<T> value = p + p * (square * polynomial(Series<T>::tan, square));
        const Vec<T> slope = p + p * (value * value);
        return {value, slope, slope * (T(1) - p)};
    } else if constexpr (kind == Complement::log) {
        return {minus_log_of_rest<T>(p), p / (T(1) - p), p};
    } else {
        const Vec<T> power = exp_minus_one<T>(minus_log_of_rest<T>(p) * -q);
        const Vec<T> base = p + p * power;
        return {power * (T(-1) / q), base / (T(1) - p), base};
    }
}

template <typename T>
struct Triple {
    Vec<T> first, second, third;
};

template <typename T>
PCSR_INLINE Triple<T> load_triple(const T* values, std::int64_t stride) {
    return {load(values), load(values + stride), load(values + 2 * stride)};
}

template <typename T>
PCSR_INLINE void store_triple(const Table<T>& to, std::int64_t place, const Triple<T>& value) {
    store(to.values + place, value.first);
    store(to.values + to.stride + place, value.second);
    store(to.values + 2 * to.stride + place, value.third);
}

template <typename T>
PCSR_INLINE void add_negative(Triple<T>& sum, Vec<T> score, T rate) {
    const auto higher = score > sum.first;
    const Vec<T> lower = higher ? sum.first : score;
    sum.first = higher ? score : sum.first;
    const Vec<T> above = lower - sum.second;
    const auto over = above > T(0);
    const Vec<T> weight = exp<T>((over ? -above : above) * rate);
    sum.third = over ? sum.third * weight + T(1) : sum.third + weight;
    sum.second = over ? lower : sum.second;
}

// -infinity is no score.
template <typename T>
PCSR_INLINE void add_weighted(Triple<T>& sum, Vec<T> score, T rate) {
    const Vec<T> above = score - sum.first;
    const auto over = above > T(0);
    const auto left_out = score == broadcast(none<T>);
    const Vec<T> weight = exp<T>((over ? -above : above) * rate);
    const Vec<T> moved = left_out ? Vec<T>{} : weight * above;
    sum.second = over ? (sum.second - sum.third * above) * weight : sum.second + moved;
    sum.third = over ? sum.third * weight + T(1) : sum.third + weight;
    sum.first = over ? score : sum.first;
}

// Calls add(sums of the rows, of the columns, scores, which of them share an id, row, column) for every vector.
template <typename T, typename Gathering>
PCSR_INLINE void gather(const Block<T>& block, const ContrastiveBlock<T>& known, const Table<T>& rows,
                        const Table<T>& columns, const Gathering& add) {
    constexpr int step = lanes<T>;
    [[maybe_unused]] const NoSubnormals flushed;
    for (std::int64_t column = 0; column < block.columns; column += step) {
        const Vec<Index<T>> ids = load(known.column_ids + column);
        Triple<T> by_column = load_triple<T>(columns.values + column, columns.stride);
        for (std::int64_t row = 0; row < block.rows; ++row) {
            const Vec<T> score = load(block.scores + row * block.stride + column);
            const auto same = ids == broadcast(known.row_ids[row]);
            Triple<T> by_row = load_triple<T>(rows.values + row * step, rows.stride);
            add(by_row, by_column, score, same, row, column);
            store_triple(rows, row * step, by_row);
        }
        store_triple(columns, column, by_column);
    }
}

template <typename T>
void softmax(const Block<T>& block, const ContrastiveBlock<T>& known, const Table<T>& rows, const Table<T>& columns) {
    gather(block, known, rows, columns,
           [&](Triple<T>& row, Triple<T>& column, Vec<T> score, auto same, std::int64_t, std::int64_t) {
               const Vec<T> negative = same ? broadcast(none<T>) : score;
               add_negative(row, negative, known.rate);
               add_negative(column, negative, known.rate);
           });
}

template <typename T>
void weighted(const Block<T>& block, const ContrastiveBlock<T>& known, const Table<T>& rows, const Table<T>& columns) {
    gather(block, known, rows, columns,
           [&](Triple<T>& row, Triple<T>& column, Vec<T> score, auto same, std::int64_t, std::int64_t) {
               if (!any<T>(same)) {
                   return;
               }
               const Vec<T> positive = same ? score : broadcast(none<T>);
               add_weighted(row, positive, known.rate);
               add_weighted(column, positive, known.rate);
           });
}

// Adds an entry that is neither of the same id nor the largest; counts the largest.
template <typename T, Complement kind>
PCSR_INLINE void add_complement(Triple<T>& sum, Vec<T> score, Vec<Index<T>> same, const Triple<T>& known, T rate, T q) {
    const Vec<T> zero{};
    const auto top = score == known.first;
    const Terms<T> terms = terms_of<T, kind>(exp<T>((score - known.second) * rate) * known.third, q);
    sum.first += same | top ? zero : terms.value;
    sum.second += same | top ? zero : terms.slope;
    sum.third += ~same & top ? zero + T(1) : zero;
}

template <typename T>
PCSR_INLINE Triple<T> broadcast_row(const Table<const T>& known, std::int64_t row) {
    const T* const values = known.values + row;
    return {broadcast(values[0]), broadcast(values[known.stride]), broadcast(values[2 * known.stride])};
}

template <typename T, Complement kind>
void complement(const Block<T>& block, const ContrastiveBlock<T>& known, const Table<T>& rows,
                const Table<T>& columns) {
    gather(block, known, rows, columns,
           [&](Triple<T>& row, Triple<T>& column, Vec<T> score, auto same, std::int64_t i, std::int64_t j) {
               add_complement<T, kind>(row, score, same, broadcast_row(known.rows, i), known.rate, known.q);
               add_complement<T, kind>(column, score, same, load_triple(known.columns.values + j, known.columns.stride),
                                       known.rate, known.q);
           });
}

template <typename T, Gathered kind>
PCSR_INLINE Triple<T> merged(const Triple<T>& a, const Triple<T>& b, T rate) {
    if constexpr (kind == Gathered::complement) {
        return {a.first + b.first, a.second + b.second, a.third + b.third};
    } else if constexpr (kind == Gathered::weighted) {
        const Vec<T> first = larger<T>(a.first, b.first);
        const Vec<T> from_a = a.first - first, from_b = b.first - first;
        const Vec<T> weight_a = exp<T>(from_a * rate), weight_b = exp<T>(from_b * rate);
        return {first, weight_a * (a.second + a.third * from_a) + weight_b * (b.second + b.third * from_b),
                weight_a * a.third + weight_b * b.third};
    } else {
        const Vec<T> first = larger<T>(a.first, b.first);
        const Vec<T> lower = a.first > b.first ? b.first : a.first;
        const Vec<T> second = larger<T>(larger<T>(a.second, b.second), lower);
        return {first, second,
                exp<T>((lower - second) * rate) + a.third * exp<T>((a.second - second) * rate) +
                    b.third * exp<T>((b.second - second) * rate)};
    }
}

template <typename T, Gathered kind>
void merge(std::int64_t places, std::int64_t parts, const Table<const T>& from, std::int64_t part_step,
           std::int64_t place_step, T rate, const Table<T>& into) {
    for (std::int64_t first = 0; first < places; first += lanes<T>) {
        const int inside = places - first < lanes<T> ? static_cast<int>(places - first) : lanes<T>;
        const auto take = [inside](const auto& table, std::int64_t start, std::int64_t step) {
            Triple<T> value{};
            for (int lane = 0; lane < inside; ++lane) {
                const T* const place = table.values + start + lane * step;
                value.first[lane] = place[0];
                value.second[lane] = place[table.stride];
                value.third[lane] = place[2 * table.stride];
            }
            return value;
        };
        Triple<T> sum = take(into, first, 1);
        for (std::int64_t part = 0; part < parts; ++part) {
            sum = merged<T, kind>(sum, take(from, part * part_step + first * place_step, place_step), rate);
        }
        for (int lane = 0; lane < inside; ++lane) {
            T* const place = into.values + first + lane;
            place[0] = sum.first[lane];
            place[into.stride] = sum.second[lane];
            place[2 * into.stride] = sum.third[lane];
        }
    }
}

// Replaces every score by gradient(score, same id, row, column).
template <typename T, typename Gradient>
PCSR_INLINE void turn(const Block<T>& block, const ContrastiveBlock<T>& known, const Gradient& gradient) {
    [[maybe_unused]] const NoSubnormals flushed;
    for (std::int64_t column = 0; column < block.columns; column += lanes<T>) {
        const Vec<Index<T>> ids = load(known.column_ids + column);
        for (std::int64_t row = 0; row < block.rows; ++row) {
            T* const scores = block.scores + row * block.stride + column;
            store<T>(scores, gradient(load(scores), ids == broadcast(known.row_ids[row]), row, column));
        }
    }
}

template <typename T>
void softmax_gradient(const Block<T>& block, const ContrastiveBlock<T>& known) {
    turn(block, known, [&](Vec<T> score, auto same, std::int64_t i, std::int64_t j) {
        const T *const row = known.rows.values + i, *const column = known.columns.values + j;
        const std::int64_t next = known.rows.stride, below = known.columns.stride;
        const Vec<T> row_score = same ? broadcast(row[2 * next]) : broadcast(row[0]);
        const Vec<T> row_weight = same ? broadcast(row[3 * next]) : broadcast(row[next]);
        const Vec<T> column_score = same ? load(column + 2 * below) : load(column);
        const Vec<T> column_weight = same ? load(column + 3 * below) : load(column + below);
        return row_weight * exp<T>((score - row_score) * known.rate) +
               column_weight * exp<T>((score - column_score) * known.rate);
    });
}

// One direction of dL/ds of negatives; `at` reads a known number.
template <typename T, Complement kind, typename At>
PCSR_INLINE Vec<T> complement_slope(Vec<T> score, T rate, T q, const At& at) {
    const Vec<T> weight = exp<T>((score - at(1)) * rate);
    const Vec<T> p = weight * at(2);
    const Terms<T> terms = terms_of<T, kind>(p, q);
    const Vec<T> slope = terms.base - p * (at(3) - terms.slope) - weight * at(4);
    return at(6) * (score == at(0) ? at(5) : slope);
}

template <typename T, Complement kind>
void complement_gradient(const Block<T>& block, const ContrastiveBlock<T>& known) {
    turn(block, known, [&](Vec<T> score, auto same, std::int64_t i, std::int64_t j) {
        const T *const row = known.rows.values + i, *const column = known.columns.values + j;
        const std::int64_t next = known.rows.stride, below = known.columns.stride;
        const Vec<T> by_row = complement_slope<T, kind>(score, known.rate, known.q,
                                                        [=](int number) { return broadcast(row[number * next]); });
        const Vec<T> by_column = complement_slope<T, kind>(score, known.rate, known.q,
                                                           [=](int number) { return load(column + number * below); });
        return same ? Vec<T>{} : by_row + by_column;
    });
}

template <typename T>
constexpr ContrastiveKernels<T> table() {
    return {lanes<T>,
            {{none<T>, bottom<T>, 0}, {bottom<T>, 0, 0}, {0, 0, 0}},
            softmax<T>,
            weighted<T>,
            {complement<T, Complement::log>, complement<T, Complement::tan>, complement<T, Complement::gce>},
            {merge<T, Gathered::softmax>, merge<T, Gathered::weighted>, merge<T, Gathered::complement>},
            softmax_gradient<T>,
            {complement_gradient<T, Complement::log>, complement_gradient<T, Complement::tan>,
             complement_gradient<T, Complement::gce>}};
}

} // namespace

extern constexpr ContrastiveKernels<float> contrastive_f32 = table<float>();
extern constexpr ContrastiveKernels<double> contrastive_f64 = table<double>();

} // namespace pcsr::PCSR_ISA

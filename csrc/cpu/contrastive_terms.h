// What one row or column contributes, from the numbers gathered over its entries: O(1) each, in double.
#pragma once

#include "contrastive.h"
#include "contrastive_loss.h"

#include <cmath>
#include <limits>

namespace pcsr {

inline const double log_label_floor = std::log(1e-7);

inline bool is_complementary(Contrast kind) {
    return kind == Contrast::ccl_log || kind == Contrast::ccl_tan || kind == Contrast::ccl_gce;
}

inline Complement complement_of(Contrast kind) {
    return kind == Contrast::ccl_log ? Complement::log : kind == Contrast::ccl_tan ? Complement::tan : Complement::gce;
}

// A softmax without what the largest entry would drown: 1 - p of the largest is exact also where p rounds to 1.
struct Softmax {
    double top, second, rest; // as in the statistics
    double temperature;

    double others() const { return rest * std::exp((second - top) / temperature); } // relative to the largest
    double total() const { return 1 + others(); }
    double log_total() const { return std::log1p(others()); }
    double scale() const { return std::exp((second - top) / temperature) / total(); } // p of a score of `second`
    double log_of(double score) const { return (score - top) / temperature - log_total(); }
    double rest_of(double score) const { // 1 - p
        return score == top ? others() / total() : -std::expm1(log_of(score));
    }
    double log_rest_of_top() const { return std::log(rest) + (second - top) / temperature - log_total(); }

    void add(double score) {
        const double lower = score > top ? top : score;
        top = score > top ? score : top;
        if (lower > second) {
            rest = rest * std::exp((second - lower) / temperature) + 1;
            second = lower;
        } else {
            rest += std::exp((lower - second) / temperature);
        }
    }
};

// f(p) and p f'(p) (1 - p) of the largest entry.
struct TopTerms {
    double value, base;
};

inline TopTerms top_terms(const Softmax& softmax, Complement kind, double q) {
    const double p = 1 / softmax.total(), log_rest = softmax.log_rest_of_top();
    switch (kind) {
    case Complement::log:
        return {-log_rest, p};
    case Complement::tan:
        return {std::tan(p), p * (1 + std::tan(p) * std::tan(p)) * softmax.rest_of(softmax.top)};
    case Complement::gce:
        return {-std::expm1(q * log_rest) / q, p * std::exp(q * log_rest)};
    }
    return {};
}

// The loss of one direction from -log p of the pair itself, before a factor of 1/2.
inline double own_value(const ContrastiveOptions& options, const Softmax& softmax, double own) {
    const double log_p = softmax.log_of(own);
    switch (options.kind) {
    case Contrast::rce:
        return -log_p - log_label_floor * softmax.rest_of(own);
    case Contrast::gce_infonce:
        return -std::expm1(options.q * log_p) / options.q;
    default:
        return -log_p;
    }
}

// Its derivative in log p.
inline double own_slope(const ContrastiveOptions& options, const Softmax& softmax, double own) {
    const double log_p = softmax.log_of(own);
    switch (options.kind) {
    case Contrast::rce:
        return log_label_floor * std::exp(log_p) - 1;
    case Contrast::gce_infonce:
        return -std::exp(options.q * log_p);
    default:
        return -1;
    }
}

// [margin - positive + tau log sum exp(s / tau)]+ over negatives, 0 without one.
inline double tal_value(const ContrastiveOptions& options, const Softmax& negatives, double positive) {
    if (negatives.top == -std::numeric_limits<double>::infinity() && negatives.rest == 0) {
        return 0;
    }
    const double value = options.margin - positive + negatives.top + negatives.temperature * negatives.log_total();
    return value <= 0 ? 0 : value; // NaN stays
}

} // namespace pcsr

// One-dimensional two-means, where EM starts from (METHODS 2.3): the cut that a sort of all values would give, from
// values sorted into bins, of which only those that matter are sorted within.
#pragma once

#include <cstdint>

namespace pcsr {

enum class Start : int { quantile = 0, kmeans = 1, means = 2 };

// The values up to `cut` are the first of the two; the means of both.
struct TwoMeans {
    double cut;
    double low;
    double high;
};

// `low` and `high` are where Start::means begins; the values are finite and not all equal.
template <typename T>
TwoMeans two_means(const T* values, std::int64_t count, Start start, double low, double high);

// Of points with positive counts and rising values.
TwoMeans two_means_of_bins(const double* values, const double* counts, std::int64_t bins, Start start, double low,
                           double high);

} // namespace pcsr

// Whole passes over values for two-component mixtures: fixed parts, combined in order, so that nothing depends on the
// number of threads. T is float or double; sums are double.
#pragma once

#include "mixture.h"

#include <utility>
#include <vector>

namespace pcsr {

template <typename T>
const MixtureKernels<T>& mixture_kernels() {
    return of_type<T>(PCSR_TABLE(mixture_f32), PCSR_TABLE(mixture_f64));
}

// Calls work(part, first, count) for parts of `size` values; on several threads where that pays.
template <typename Work>
void for_parts(std::int64_t count, std::int64_t size, const Work& work) {
    constexpr std::int64_t worth_threads = 1 << 18;
    const std::int64_t parts = (count + size - 1) / size;
#pragma omp parallel for schedule(static) if (count >= worth_threads)
    for (std::int64_t part = 0; part < parts; ++part) {
        const std::int64_t first = part * size;
        work(part, first, count - first < size ? count - first : size);
    }
}

// The range, the sum of x - origin and the number of NaN and infinite values.
template <typename T>
Summary summarize(const T* values, std::int64_t count, double origin);

// Index of the first NaN or infinite value, or count.
template <typename T>
std::int64_t first_bad(const T* values, std::int64_t count);

template <typename T>
MixtureSums accumulate(MixtureModel model, const T* values, const double* weights, std::int64_t count,
                       const Components& components);

// Responsibility of component 0 for every value.
template <typename T>
void posterior(MixtureModel model, const T* values, std::int64_t count, const Components& components, double* out);

// Counts of the values in `bins` equal bins of [low, high], and their sums of x - origin.
template <typename T>
void histogram(const T* values, std::int64_t count, double low, double high, double origin, std::int64_t bins,
               double* counts, double* sums);

// The values in the wanted bins, each with its bin, part by part; bin = (x - low) * scale as in `histogram`.
template <typename T>
std::vector<std::vector<std::pair<std::int32_t, T>>> values_in_bins(const T* values, std::int64_t count, double low,
                                                                    double scale, const std::vector<char>& wanted);

} // namespace pcsr

#include "mixture_passes.h"

#include <algorithm>
#include <cmath>

#ifdef __linux__
#    include <sys/mman.h>
#endif

namespace pcsr {
namespace {

constexpr std::int64_t part_size = 1 << 15;
constexpr std::int64_t most_histograms = 8;    // filled side by side, then added up
constexpr std::int64_t worth_a_histogram = 64; // values a bin
constexpr std::int64_t block_size = 1024;
constexpr std::uintptr_t huge_worth = 4; // pages

struct Bin {
    double count;
    double sum;
};

void operator+=(MixtureSums& all, const MixtureSums& part) {
    for (int k = 0; k < 2; ++k) {
        all.mass[k] += part.mass[k];
        all.shift[k] += part.shift[k];
        all.square[k] += part.square[k];
    }
    all.log_likelihood += part.log_likelihood;
}

// First touching fresh memory page by page takes longer than the values do.
void advise_huge_pages([[maybe_unused]] double* memory, [[maybe_unused]] std::int64_t count) {
#ifdef MADV_HUGEPAGE
    constexpr std::uintptr_t page = 1 << 21;
    const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(memory);
    const std::uintptr_t first = (address + page - 1) / page * page, end = address + count * sizeof(double);
    if (end >= first + huge_worth * page) {
        madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
    }
#endif
}

// Calls visit(bin, value) for every value, in order.
template <typename T, typename Visit>
void visit_bins(const T* values, std::int64_t count, double low, double scale, std::int64_t bins, const Visit& visit) {
    std::int32_t places[block_size];
    for (std::int64_t done = 0; done < count; done += block_size) {
        const std::int64_t block = std::min(block_size, count - done);
        mixture_kernels<T>().bins(values + done, block, low, scale, static_cast<std::int32_t>(bins - 1), places);
        for (std::int64_t i = 0; i < block; ++i) {
            visit(places[i], values[done + i]);
        }
    }
}

} // namespace

template <typename T>
Summary summarize(const T* values, std::int64_t count, double origin) {
    std::vector<Summary> parts(static_cast<std::size_t>((count + part_size - 1) / part_size));
    for_parts(count, part_size, [&](std::int64_t part, std::int64_t first, std::int64_t length) {
        mixture_kernels<T>().summarize(values + first, length, origin, &parts[part]);
    });
    Summary all = parts.front();
    for (std::size_t part = 1; part < parts.size(); ++part) {
        all.bad += parts[part].bad;
        all.sum += parts[part].sum;
        all.low = std::min(all.low, parts[part].low);
        all.high = std::max(all.high, parts[part].high);
    }
    return all;
}

template <typename T>
std::int64_t first_bad(const T* values, std::int64_t count) {
    return std::find_if(values, values + count, [](T value) { return !std::isfinite(value); }) - values;
}

template <typename T>
MixtureSums accumulate(MixtureModel model, const T* values, const double* weights, std::int64_t count,
                       const Components& components) {
    std::vector<MixtureSums> parts(static_cast<std::size_t>((count + part_size - 1) / part_size));
    for_parts(count, part_size, [&](std::int64_t part, std::int64_t first, std::int64_t length) {
        mixture_kernels<T>().accumulate(model, values + first, weights == nullptr ? nullptr : weights + first, length,
                                        components, &parts[part]);
    });
    MixtureSums all{};
    for (const MixtureSums& part : parts) {
        all += part;
    }
    return all;
}

template <typename T>
void posterior(MixtureModel model, const T* values, std::int64_t count, const Components& components, double* out) {
    advise_huge_pages(out, count);
    for_parts(count, part_size, [&](std::int64_t, std::int64_t first, std::int64_t length) {
        mixture_kernels<T>().posterior(model, values + first, length, components, out + first);
    });
}

template <typename T>
void histogram(const T* values, std::int64_t count, double low, double high, double origin, std::int64_t bins,
               double* counts, double* sums) {
    const double scale = static_cast<double>(bins) / (high - low);
    const std::int64_t own = std::clamp<std::int64_t>(count / (bins * worth_a_histogram), 1, most_histograms);
    const std::int64_t size = (count + own - 1) / own;
    std::vector<Bin> all(static_cast<std::size_t>(bins * own));
    for_parts(count, size, [&](std::int64_t part, std::int64_t first, std::int64_t length) {
        Bin* const out = all.data() + part * bins;
        visit_bins(values + first, length, low, scale, bins, [out, origin](std::int32_t bin, T value) {
            out[bin].count += 1;
            out[bin].sum += static_cast<double>(value) - origin;
        });
    });
    for (std::int64_t bin = 0; bin < bins; ++bin) {
        counts[bin] = sums[bin] = 0;
        for (std::int64_t part = 0; part < own; ++part) {
            counts[bin] += all[part * bins + bin].count;
            sums[bin] += all[part * bins + bin].sum;
        }
    }
}

template <typename T>
std::vector<std::vector<std::pair<std::int32_t, T>>> values_in_bins(const T* values, std::int64_t count, double low,
                                                                    double scale, const std::vector<char>& wanted) {
    std::vector<std::vector<std::pair<std::int32_t, T>>> parts(
        static_cast<std::size_t>((count + part_size - 1) / part_size));
    const char* const flags = wanted.data();
    const std::int64_t bins = static_cast<std::int64_t>(wanted.size());
    for_parts(count, part_size, [&](std::int64_t part, std::int64_t first, std::int64_t length) {
        visit_bins(values + first, length, low, scale, bins, [&](std::int32_t bin, T value) {
            if (flags[bin] != 0) {
                parts[part].emplace_back(bin, value);
            }
        });
    });
    return parts;
}

#define PCSR_INSTANTIATE(T)                                                                                            \
    template Summary summarize<T>(const T*, std::int64_t, double);                                                     \
    template std::int64_t first_bad<T>(const T*, std::int64_t);                                                        \
    template MixtureSums accumulate<T>(MixtureModel, const T*, const double*, std::int64_t, const Components&);        \
    template void posterior<T>(MixtureModel, const T*, std::int64_t, const Components&, double*);                      \
    template void histogram<T>(const T*, std::int64_t, double, double, double, std::int64_t, double*, double*);        \
    template std::vector<std::vector<std::pair<std::int32_t, T>>> values_in_bins<T>(const T*, std::int64_t, double,    \
                                                                                    double, const std::vector<char>&);
PCSR_INSTANTIATE(float)
PCSR_INSTANTIATE(double)

} // namespace pcsr

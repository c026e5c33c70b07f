#include "mixture_passes.h"

#include <algorithm>
#include <cmath>

namespace pcsr {
namespace {

constexpr std::int64_t part_size = 1 << 15;
constexpr std::int64_t histogram_parts = 8; // each keeps a histogram of its own
constexpr std::int64_t block_size = 1024;

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

template <typename T>
void add_to_bins(const T* values, std::int64_t count, double low, double scale, std::int64_t bins, Bin* out) {
    std::int32_t places[block_size];
    for (std::int64_t done = 0; done < count; done += block_size) {
        const std::int64_t block = std::min(block_size, count - done);
        mixture_kernels<T>().bins(values + done, block, low, scale, static_cast<std::int32_t>(bins - 1), places);
        for (std::int64_t i = 0; i < block; ++i) {
            Bin& bin = out[places[i]];
            bin.count += 1;
            bin.sum += static_cast<double>(values[done + i]);
        }
    }
}

} // namespace

template <>
const MixtureKernels<float>& mixture_kernels<float>() {
    return PCSR_TABLE(mixture_f32);
}
template <>
const MixtureKernels<double>& mixture_kernels<double>() {
    return PCSR_TABLE(mixture_f64);
}

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
    for_parts(count, part_size, [&](std::int64_t, std::int64_t first, std::int64_t length) {
        mixture_kernels<T>().posterior(model, values + first, length, components, out + first);
    });
}

template <typename T>
void histogram(const T* values, std::int64_t count, double low, double high, std::int64_t bins, double* counts,
               double* sums) {
    const double scale = static_cast<double>(bins) / (high - low);
    std::vector<Bin> parts(static_cast<std::size_t>(bins * histogram_parts));
    const std::int64_t size = (count + histogram_parts - 1) / histogram_parts;
    for_parts(count, size, [&](std::int64_t part, std::int64_t first, std::int64_t length) {
        add_to_bins(values + first, length, low, scale, bins, parts.data() + part * bins);
    });
    for (std::int64_t bin = 0; bin < bins; ++bin) {
        counts[bin] = sums[bin] = 0;
        for (std::int64_t part = 0; part < histogram_parts; ++part) {
            counts[bin] += parts[part * bins + bin].count;
            sums[bin] += parts[part * bins + bin].sum;
        }
    }
}

#define PCSR_INSTANTIATE(T)                                                                                            \
    template Summary summarize<T>(const T*, std::int64_t, double);                                                     \
    template std::int64_t first_bad<T>(const T*, std::int64_t);                                                        \
    template MixtureSums accumulate<T>(MixtureModel, const T*, const double*, std::int64_t, const Components&);        \
    template void posterior<T>(MixtureModel, const T*, std::int64_t, const Components&, double*);                      \
    template void histogram<T>(const T*, std::int64_t, double, double, std::int64_t, double*, double*);
PCSR_INSTANTIATE(float)
PCSR_INSTANTIATE(double)

} // namespace pcsr

// Passes over scalar values for two-component mixtures (METHODS 2.3; KERNELS 1, K3).
#pragma once

#include "dispatch.h"
#include "types.h"

namespace pcsr {

// cut: component 0 holds the values up to `cut`. gaussian: log-density + log-weight k at x is
// offset + first (x - centre)^2. beta: offset + first log x + second log(1 - x), responsibilities at least 1e-12.
enum class MixtureModel : int { cut = 0, gaussian = 1, beta = 2 };

struct Components {
    double centre[2]; // what the moments are taken about
    double first[2];
    double second[2];
    double offset[2];
    double lowest; // Beta values and those of posteriors are held in [lowest, highest]
    double highest;
    double cut;
};

// Sums over the values: responsibilities r_k, r_k (x - centre_k), r_k (x - centre_k)^2, and the log-likelihood.
struct MixtureSums {
    double mass[2];
    double shift[2];
    double square[2];
    double log_likelihood;
};

struct Summary {
    std::int64_t bad; // NaN or infinite; the rest means nothing unless this is 0
    double sum;       // of x - origin
    double low;
    double high;
};

template <typename T>
struct MixtureKernels {
    void (*summarize)(const T* values, std::int64_t count, double origin, Summary* out);
    // `weights` (a number for every value, or null) scale what a value adds.
    void (*accumulate)(MixtureModel model, const T* values, const double* weights, std::int64_t count,
                       const Components& components, MixtureSums* out);
    void (*posterior)(MixtureModel model, const T* values, std::int64_t count, const Components& components,
                      double* out);
    // out = (x - low) * scale cut to an integer in [0, last]; rises with x.
    void (*bins)(const T* values, std::int64_t count, double low, double scale, std::int32_t last, std::int32_t* out);
};

} // namespace pcsr

PCSR_DECLARE_TABLE(MixtureKernels<float>, mixture_f32)
PCSR_DECLARE_TABLE(MixtureKernels<double>, mixture_f64)

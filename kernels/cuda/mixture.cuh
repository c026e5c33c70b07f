// K3: two-component mixtures, all on the device: sums under the responsibilities, then one step of EM by a single
// thread (METHODS 2.3; KERNELS 1). In float64 (iterations of Gaussians over float32 values: mixture_float32.cuh);
// moments are taken about each component's last mean, so that no variance cancels.
#pragma once

#include "mma.cuh"
#include "parameters.h"

#include <math.h>

namespace pcsr::cuda {

constexpr int MIXTURE_THREADS = 256;
constexpr double BETA_LOW = 1e-4, BETA_HIGH = 1 - 1e-4;
constexpr double RESPONSIBILITY_FLOOR = 1e-12, SHAPE_VARIANCE_FLOOR = 1e-8;

// log(weight_k density_k(x)) = offset_k + first_k f(x) + second_k g(x); see `densities_of`.
struct Densities {
    double mean[2];
    double offset[2];
    double first[2];
    double second[2];
};

// log(weight density(x)) = offset + first (x - mean)^2.
struct Gaussian {
    double mean;
    double offset;
    double first;
};

__device__ __forceinline__ Gaussian gaussian_of(const Mixture& state, int k) {
    return {state.mean[k], log(state.weight[k]) - 0.5 * log(2 * M_PI * state.variance[k]), -0.5 / state.variance[k]};
}

__device__ __forceinline__ Densities densities_of(const Mixture& state, MixtureKind kind) {
    Densities d;
    for (int k = 0; k < 2; ++k) {
        if (kind == MixtureKind::beta) {
            const double a = state.a[k], b = state.b[k];
            d.mean[k] = state.mean[k];
            d.offset[k] = log(state.weight[k]) + lgamma(a + b) - lgamma(a) - lgamma(b);
            d.first[k] = a - 1;
            d.second[k] = b - 1;
        } else {
            const Gaussian own = gaussian_of(state, k);
            d.mean[k] = own.mean;
            d.offset[k] = own.offset;
            d.first[k] = own.first;
            d.second[k] = 0;
        }
    }
    return d;
}

struct Responsibility {
    double of[2];
    double log_likelihood;
};

__device__ __forceinline__ Responsibility responsibility(const Densities& d, MixtureKind kind, double x) {
    double joint[2];
    const double log_x = kind == MixtureKind::beta ? log(x) : 0, log_rest = kind == MixtureKind::beta ? log1p(-x) : 0;
    for (int k = 0; k < 2; ++k) {
        const double away = x - d.mean[k];
        joint[k] = kind == MixtureKind::beta ? d.offset[k] + d.first[k] * log_x + d.second[k] * log_rest
                                             : d.offset[k] + d.first[k] * away * away;
    }
    const double odds = joint[0] - joint[1], small = exp(-fabs(odds));
    double low = odds > 0 ? 1 / (1 + small) : small / (1 + small),
           high = odds > 0 ? small / (1 + small) : 1 / (1 + small);
    if (kind == MixtureKind::beta) {
        // Not fmax, which would drop a NaN.
        low = low < RESPONSIBILITY_FLOOR ? RESPONSIBILITY_FLOOR : low;
        high = high < RESPONSIBILITY_FLOOR ? RESPONSIBILITY_FLOOR : high;
        const double both = low + high;
        low /= both;
        high /= both;
    }
    return {{low, high}, fmax(joint[0], joint[1]) + log1p(small)};
}

// Masses, then first and second moments about the means, then the log-likelihood.
struct MixtureSums {
    double of[MIXTURE_SUMS];

    __device__ __forceinline__ void add(const MixtureSums& other) {
        for (int k = 0; k < MIXTURE_SUMS; ++k) {
            of[k] += other.of[k];
        }
    }
    __device__ __forceinline__ void add(const Responsibility& r, const double (&mean)[2], double x) {
        for (int k = 0; k < 2; ++k) {
            const double away = x - mean[k];
            of[k] += r.of[k];
            of[2 + k] += r.of[k] * away;
            of[4 + k] += r.of[k] * away * away;
        }
        of[6] += r.log_likelihood;
    }
};

// The sums of all threads, in an order that only the number of threads changes.
__device__ __forceinline__ MixtureSums sum_block(MixtureSums own) {
    auto* shared = reinterpret_cast<MixtureSums*>(shared_memory());
    shared[threadIdx.x] = own;
    for (int half = MIXTURE_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (static_cast<int>(threadIdx.x) < half) {
            shared[threadIdx.x].add(shared[threadIdx.x + half]);
        }
    }
    __syncthreads();
    return shared[0];
}

// One block's part of the sums. `assigned`, where given, says which component each value is of.
template <class T>
__global__ void __launch_bounds__(MIXTURE_THREADS)
    mixture_sums(const T* values, std::int64_t count, const unsigned char* assigned, MixtureKind kind,
                 const Mixture* state, double* partials) {
    if (state->converged != 0 && kind == MixtureKind::gaussian) {
        return;
    }
    const Densities d = densities_of(*state, kind);
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * MIXTURE_THREADS;
    MixtureSums sums = {};
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * MIXTURE_THREADS + threadIdx.x; i < count; i += step) {
        double x = values[i];
        if (assigned) {
            const double high = assigned[i];
            sums.add(Responsibility{{1 - high, high}, 0}, d.mean, x);
        } else {
            x = kind == MixtureKind::beta ? fmin(fmax(x, BETA_LOW), BETA_HIGH) : x;
            sums.add(responsibility(d, kind, x), d.mean, x);
        }
    }
    sums = sum_block(sums);
    if (threadIdx.x < MIXTURE_SUMS) {
        partials[blockIdx.x * MIXTURE_SUMS + threadIdx.x] = sums.of[threadIdx.x];
    }
}

// Mean and variance of one component whose mass has `extra` added, as if so much lay at 0.
__device__ __forceinline__ void component(double mean, double mass, double shift, double square, double extra,
                                          double& new_mean, double& new_variance) {
    const double moved = (shift - extra * mean) / (mass + extra);
    new_mean = mean + moved;
    new_variance = (square - 2 * moved * shift + moved * moved * mass) / (mass + extra);
}

__device__ __forceinline__ void shapes_of(double mean, double variance, double& a, double& b) {
    a = mean * (mean * (1 - mean) / fmax(variance, SHAPE_VARIANCE_FLOOR) - 1);
    b = a * (1 - mean) / mean;
}

__device__ __forceinline__ void moments_of_beta(Mixture& state) {
    for (int k = 0; k < 2; ++k) {
        const double a = state.a[k], b = state.b[k];
        state.mean[k] = a / (a + b);
        state.variance[k] = state.mean[k] * (1 - state.mean[k]) / (a + b + 1);
    }
}

// Mean and variance of all values, from the sums about the means of the state before its step.
__device__ __forceinline__ void keep_overall(Mixture& state, const MixtureSums& sums) {
    const double total = sums.of[0] + sums.of[1], origin = state.mean[0];
    double moved = 0, squares = 0;
    for (int k = 0; k < 2; ++k) {
        moved += (state.mean[k] - origin) * sums.of[k] + sums.of[2 + k];
    }
    state.overall_mean = origin + moved / total;
    for (int k = 0; k < 2; ++k) {
        const double away = state.mean[k] - state.overall_mean;
        squares += sums.of[4 + k] + 2 * away * sums.of[2 + k] + away * away * sums.of[k];
    }
    state.overall_variance = squares / total;
}

__device__ __forceinline__ void maximise(Mixture& state, const MixtureSums& sums, MixtureKind kind, double reg_covar) {
    const double extra = kind == MixtureKind::gaussian ? 10 * 2.220446049250313e-16 : 0;
    const double total = sums.of[0] + sums.of[1] + 2 * extra;
    keep_overall(state, sums);
    for (int k = 0; k < 2; ++k) {
        component(state.mean[k], sums.of[k], sums.of[2 + k], sums.of[4 + k], extra, state.mean[k], state.variance[k]);
        state.weight[k] = (sums.of[k] + extra) / total;
        if (kind == MixtureKind::beta) {
            shapes_of(state.mean[k], state.variance[k], state.a[k], state.b[k]);
        } else {
            state.variance[k] += reg_covar;
            state.least_variance = fmin(state.least_variance, state.variance[k]);
        }
    }
    if (kind == MixtureKind::beta) {
        moments_of_beta(state);
    }
}

// What follows one pass: the start, one iteration of EM with the stop rule, or the fit of a single component.
__device__ __forceinline__ void take_step(Mixture& state, const MixtureSums& sums, const MixtureStep& step) {
    const double bound = sums.of[6] / (sums.of[0] + sums.of[1]);
    if (step.stage == MixtureStage::single) {
        state.single = bound;
        return;
    }
    maximise(state, sums, step.kind, step.reg_covar);
    if (step.stage == MixtureStage::iterate) {
        state.converged = fabs(bound - state.bound) < step.tol ? 1 : 0;
        state.bound = bound;
        state.iterations += 1;
    }
}

__global__ void __launch_bounds__(MIXTURE_THREADS)
    mixture_step(const double* partials, std::int64_t parts, MixtureStep step, Mixture* state) {
    if (state->converged != 0 && step.kind == MixtureKind::gaussian) {
        return;
    }
    MixtureSums sums = {};
    for (std::int64_t part = threadIdx.x; part < parts; part += MIXTURE_THREADS) {
        MixtureSums own;
        for (int k = 0; k < MIXTURE_SUMS; ++k) {
            own.of[k] = partials[part * MIXTURE_SUMS + k];
        }
        sums.add(own);
    }
    sums = sum_block(sums);
    if (threadIdx.x == 0) {
        take_step(*state, sums, step);
    }
}

// Probability of the first component for values held in [low, high].
template <class T>
__global__ void __launch_bounds__(MIXTURE_THREADS)
    mixture_posterior(const T* values, std::int64_t count, MixtureKind kind, const Mixture* state, double low,
                      double high, double* out) {
    const Densities d = densities_of(*state, kind);
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * MIXTURE_THREADS;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * MIXTURE_THREADS + threadIdx.x; i < count; i += step) {
        double x = values[i];
        x = x != x ? x : fmin(fmax(x, low), high);
        out[i] = responsibility(d, kind, x).of[0];
    }
}

// Lloyd's iteration from the centres low < high over sorted values with their running sums, by a single thread; leaves
// the centres that the last assignment is nearer to. At most `steps` steps.
__global__ void two_means(const double* sorted, const double* sums, std::int64_t count, int steps, double* centres) {
    double low = centres[0], high = centres[1];
    std::int64_t cut = -1;
    for (int step = 0; step <= steps; ++step) {
        std::int64_t first = 0, end = count; // the first value nearer to high
        while (first < end) {
            const std::int64_t middle = first + (end - first) / 2;
            if (sorted[middle] - low > high - sorted[middle]) {
                end = middle;
            } else {
                first = middle + 1;
            }
        }
        if (first == cut) {
            break;
        }
        cut = first;
        const double below = cut ? sums[cut - 1] : 0;
        centres[0] = low;
        centres[1] = high;
        low = below / static_cast<double>(cut);
        high = (sums[count - 1] - below) / static_cast<double>(count - cut);
    }
}

} // namespace pcsr::cuda

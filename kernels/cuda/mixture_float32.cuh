// K3 of two Gaussians over float32 values, each in float32, as kernels/triton/mixture_float32.py says: the log-odds of
// the narrower component (0 here) and the wider one (1) about a zero of theirs, entropies in place of log-likelihoods,
// moments about rounded means. Runs of values are summed in float32, runs in float64.
#pragma once

#include "mixture.cuh"

namespace pcsr::cuda {

constexpr int FLOAT32_BLOCKS_PER_SM = 4;
constexpr int STEP_VALUES = 4 * MIXTURE_THREADS; // of a block: four neighbours a thread
constexpr int STEPS_AT_ONCE = 4, STEPS_A_RUN = 8;
constexpr int BATCH_VALUES = STEPS_AT_ONCE * STEP_VALUES;
constexpr double FAR = 1e18;          // a zero beyond is none
constexpr double LEAST_CURVE = -1e24; // whose products with values are finite
constexpr float LEAST_ODDS = -126.0f; // so that powers of two are normal

// log2 r_0(x) / r_1(x) = level + (x - zero) (slope + curve (x - mean[0])); means rounded.
struct LogOdds {
    float zero;
    float mean[2];
    float curve;
    float slope;
    float level;
};

__device__ __forceinline__ double rounded(double x) {
    return static_cast<float>(x);
}

__device__ __forceinline__ LogOdds log_odds_of(const Gaussian& narrow, const Gaussian& wide) {
    const double mean = narrow.mean, apart = wide.mean - mean;
    double curve = (narrow.first - wide.first) * M_LOG2E;
    const double slope = 2 * M_LOG2E * wide.first * apart;
    const double level = (narrow.offset - wide.offset - wide.first * apart * apart) * M_LOG2E;
    const double split = slope * slope - 4 * curve * level, root = sqrt(split > 0 ? split : 0);
    const double half = -0.5 * (slope + (slope < 0 ? -root : root));
    double zero = mean + (split > 0 ? level / half : -0.5 * slope / curve); // or the vertex
    zero = rounded(fabs(zero) < FAR ? zero : 0);                            // equal components have NaN
    const double centre = rounded(mean), away = zero - mean;
    const double steep = slope + 2 * curve * away + curve * (centre - zero);
    const double left = level + away * (slope + curve * away);
    curve = curve < LEAST_CURVE ? LEAST_CURVE : curve;
    return {float(zero), {float(mean), float(wide.mean)}, float(curve), float(steep), float(left)};
}

// Of one run; entropies in bits, but for the product of factors up to 2, whose logarithm belongs to them.
struct Float32Sums {
    float mass[2] = {0, 0};
    float shift[2] = {0, 0};
    float square[2] = {0, 0};
    float entropy = 0;
    float factors = 1;

    __device__ __forceinline__ void add(const LogOdds& odds, float x) {
        const float away[2] = {x - odds.mean[0], x - odds.mean[1]};
        const float log_odds = fmaf(x - odds.zero, fmaf(away[0], odds.curve, odds.slope), odds.level);
        const float against = fmaxf(-fabsf(log_odds), LEAST_ODDS), small = fast_exp2(against);
        const float factor = 1 + small, more = fast_reciprocal(factor), less = small * more;
        const float of[2] = {log_odds > 0 ? more : less, log_odds > 0 ? less : more};
        for (int k = 0; k < 2; ++k) {
            const float moved = of[k] * away[k];
            mass[k] += of[k];
            shift[k] += moved;
            square[k] = fmaf(moved, away[k], square[k]);
        }
        entropy = fmaf(-against, less, entropy);
        factors *= factor;
    }
};

// Sums of runs: masses, shifts, squares of narrow and wide about rounded means, entropies in bits.
__device__ __forceinline__ void add_run(MixtureSums& sums, const Float32Sums& run) {
    for (int k = 0; k < 2; ++k) {
        sums.of[k] += run.mass[k];
        sums.of[2 + k] += run.shift[k];
        sums.of[4 + k] += run.square[k];
    }
    sums.of[6] += run.entropy + fast_log2(run.factors);
}

// Four neighbours, which one load brings where they are aligned.
template <bool ALIGNED>
__device__ __forceinline__ float4 load_four(const float* values) {
    if (ALIGNED) {
        return *reinterpret_cast<const float4*>(values);
    }
    return {values[0], values[1], values[2], values[3]};
}

template <bool ALIGNED>
__device__ __forceinline__ void add_batch(Float32Sums& run, const LogOdds& odds, const float* values) {
    float4 x[STEPS_AT_ONCE];
    for (int i = 0; i < STEPS_AT_ONCE; ++i) {
        x[i] = load_four<ALIGNED>(values + i * STEP_VALUES);
    }
    for (int i = 0; i < STEPS_AT_ONCE; ++i) {
        run.add(odds, x[i].x);
        run.add(odds, x[i].y);
        run.add(odds, x[i].z);
        run.add(odds, x[i].w);
    }
}

// What this thread adds of `here` values of its block.
template <bool ALIGNED>
__device__ __forceinline__ MixtureSums sum_values(const LogOdds& odds, const float* values, std::int64_t here) {
    MixtureSums sums = {};
    const std::int64_t whole = here / BATCH_VALUES * BATCH_VALUES;
    for (std::int64_t first = 0; first < whole;) {
        Float32Sums run;
        const std::int64_t end = first + STEPS_A_RUN * STEP_VALUES;
        for (const std::int64_t last = end < whole ? end : whole; first < last; first += BATCH_VALUES) {
            add_batch<ALIGNED>(run, odds, values + first + 4 * threadIdx.x);
        }
        add_run(sums, run);
    }
    Float32Sums run;
    for (std::int64_t i = whole + threadIdx.x; i < here; i += MIXTURE_THREADS) {
        run.add(odds, values[i]);
    }
    add_run(sums, run);
    return sums;
}

// The sums of component `place`, which are number k here, about its mean itself; returns its part of the
// log-likelihood.
__device__ __forceinline__ double finish(const MixtureSums& sums, int k, const Gaussian& own, int place, double* out) {
    const double mass = sums.of[k], shift = sums.of[2 + k], away = rounded(own.mean) - own.mean;
    const double square = sums.of[4 + k] + away * (2 * shift + away * mass);
    out[place] = mass;
    out[2 + place] = shift + away * mass;
    out[4 + place] = square;
    return own.offset * mass + own.first * square;
}

// What a block keeps in shared memory: sums while they are joined, and the log-odds that one thread finds for all.
struct Float32Memory {
    MixtureSums sums[MIXTURE_THREADS];
    LogOdds odds;
};

// As `mixture_sums` of an iteration.
template <bool ALIGNED>
__global__ void __launch_bounds__(MIXTURE_THREADS, FLOAT32_BLOCKS_PER_SM)
    mixture_float32_sums(const float* values, std::int64_t count, const Mixture* state, double* partials) {
    if (state->converged != 0) {
        return;
    }
    const int narrow = state->variance[1] < state->variance[0] ? 1 : 0;
    auto* shared = reinterpret_cast<Float32Memory*>(shared_memory());
    if (threadIdx.x == 0) {
        shared->odds = log_odds_of(gaussian_of(*state, narrow), gaussian_of(*state, 1 - narrow));
    }
    __syncthreads();
    const LogOdds odds = shared->odds;
    const std::int64_t batches = (count + BATCH_VALUES - 1) / BATCH_VALUES;
    const std::int64_t part = (batches + gridDim.x - 1) / gridDim.x * BATCH_VALUES, begin = blockIdx.x * part;
    const std::int64_t left = count - begin, here = left < part ? left : part;
    const MixtureSums sums = sum_block(sum_values<ALIGNED>(odds, values + begin, here));
    if (threadIdx.x == 0) {
        double* const out = partials + blockIdx.x * MIXTURE_SUMS;
        const double likelihood = finish(sums, 0, gaussian_of(*state, narrow), narrow, out) +
                                  finish(sums, 1, gaussian_of(*state, 1 - narrow), 1 - narrow, out);
        out[6] = likelihood + sums.of[6] * M_LN2;
    }
}

} // namespace pcsr::cuda

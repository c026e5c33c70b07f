// What Python, launchers and kernels agree on: plain data, no CUDA.
#pragma once

#include <cstdint>

namespace pcsr::cuda {

// How scores are computed from their embeddings; the first two take float32.
enum class Arithmetic : int { plain = 0, split = 1, bfloat16 = 2, float16 = 3 };

// Rows of neighbouring values, `stride` elements apart; row i of a product's side is row rows_of[i] where given.
struct Matrix {
    const void* data;
    std::int64_t rows;
    std::int64_t width;
    std::int64_t stride;
    const std::int64_t* rows_of;
};

enum class Type : int { float32 = 0, bfloat16 = 1, float16 = 2 };

// Where margins are added to scores before a maximum is taken.
enum class Shift : int { none = 0, row = 1, column = 2, matrix = 3 };

// What equal scores do to a rank.
enum class Ties : int { pessimistic = 0, optimistic = 1, stable = 2 };

enum class MixtureKind : int { gaussian = 0, beta = 1 };
enum class MixtureStage : int { start = 0, iterate = 1, single = 2 };
constexpr int MIXTURE_SUMS = 7;

// A mixture while it is fitted, in the device's memory; `bound` is the mean log-likelihood before the last step.
struct Mixture {
    double mean[2];
    double variance[2];
    double weight[2];
    double a[2];
    double b[2];
    double bound;
    double iterations;
    double converged;
    double least_variance;
    double overall_mean;
    double overall_variance;
    double single;
};

struct MixtureStep {
    MixtureStage stage;
    MixtureKind kind;
    double tol;
    double reg_covar;
};

// A value (its order in the upper half) with its index (inverted, so that the lowest is the largest). 0: none.
using Key = unsigned long long;

} // namespace pcsr::cuda

// Softmaxes over the negatives of every row and column of S = x y^T, block by block (METHODS 7).
#pragma once

#include "dispatch.h"
#include "types.h"

namespace pcsr {

// Several numbers each of neighbouring rows or columns: number k of place i is values[k * stride + i].
template <typename T>
struct Table {
    T* values;
    std::int64_t stride;
};

// What is gathered over the entries of a row or column, and where each of its three numbers starts.
// softmax: of negatives, the largest score, the second largest, and sum exp((s - second) / tau) without the largest.
// weighted: of entries of the same id, the largest score, sum e (s - largest) and sum e, e = exp((s - largest) / tau).
// complement: of negatives, sum f(p) and sum p f'(p) without those of the largest score, and the number of these.
enum class Gathered : int { softmax = 0, weighted = 1, complement = 2 };
constexpr int gathered_numbers = 3;

// f(p) = -log(1 - p), tan(p), (1 - (1 - p)^q) / q.
enum class Complement : int { log = 0, tan = 1, gce = 2 };

// Ids of a block's rows and columns (equal ones are no negatives), 1 / tau, and what is known of each row and column.
template <typename T>
struct ContrastiveBlock {
    const Index<T>* row_ids;
    const Index<T>* column_ids;
    T rate;
    T q;
    Table<const T> rows;
    Table<const T> columns;
};

// Known for `complement`: largest score, second largest, and p = exp((s - second) / tau) times the third, in all of the
// softmax, the pair itself included.
constexpr int known_of_sums = 3;
// For `softmax_gradient`: a score and a weight of negatives, dL/ds = weight exp((s - score) / tau), then of the others.
constexpr int known_of_softmax = 4;
// For a complementary gradient: as for `complement`, then sum p f'(p) without the largest, what exp((s - second) / tau)
// of another entry takes from the largest, dL/ds of the largest, and the factor of the whole.
constexpr int known_of_complement = 7;

template <typename T>
struct ContrastiveKernels {
    int lanes;
    T start[3][gathered_numbers]; // of each Gathered, before any entry
    // Adds a block's entries to its rows (`lanes` places each) and columns; Complement picks f for the last.
    using Gather = void (*)(const Block<T>& block, const ContrastiveBlock<T>& known, const Table<T>& rows,
                            const Table<T>& columns);
    Gather softmax;
    Gather weighted;
    Gather complement[3];
    // Adds `parts` of each place to `into`: part n of place i lies at n * part_step + i * place_step.
    void (*merge[3])(std::int64_t places, std::int64_t parts, const Table<const T>& from, std::int64_t part_step,
                     std::int64_t place_step, T rate, const Table<T>& into);
    // Turn scores into dL/ds in place; that of a pair itself is left to the caller, where it is no softmax's.
    using Turn = void (*)(const Block<T>& block, const ContrastiveBlock<T>& known);
    Turn softmax_gradient;
    Turn complement_gradient[3];
};

} // namespace pcsr

PCSR_DECLARE_TABLE(ContrastiveKernels<float>, contrastive_f32)
PCSR_DECLARE_TABLE(ContrastiveKernels<double>, contrastive_f64)

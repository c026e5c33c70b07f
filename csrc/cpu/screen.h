// Screening by scores whose error is bounded: which entries of a block may still be a row's or column's largest?
#pragma once

#include "types.h"

namespace pcsr {

// A few candidates of one row or column. `count` above `candidate_slots`: more than fit, search it without a screen.
constexpr std::int32_t candidate_slots = 24;
struct Candidates {
    std::int32_t count;
    std::int32_t at[candidate_slots];
    float score[candidate_slots];
};

struct ScreenState {
    const std::int32_t* row_ids;
    const std::int32_t* column_ids;
    float* row_best;           // `lanes` values a row
    float* column_best;        // one a column
    const float* row_floor;    // collect: what is below cannot be the largest of its row
    const float* column_floor; // or of its column
    Candidates* rows;
    Candidates* columns;
};

// Length of a row and of what rounding it to bfloat16 takes away, not finite if the row is not.
struct RowSize {
    double length;
    double rounding;
};

// Counting against thresholds of which only a range is known: one range a row and one a column of the block.
struct CountState {
    const float* row_low;
    const float* row_high;
    const float* column_low;
    const float* column_high;
    std::int32_t* row_counts;
    std::int32_t* column_counts;
    std::int32_t* doubtful; // room for every score of the block
};

struct ScreenKernels {
    int lanes;
    RowSize (*measure)(const Matrix& from, std::int64_t row);
    // Largest score per row and column; pairs of equal ids are set to -infinity in the block.
    void (*raise)(const Block<float>& block, const ScreenState& state);
    // Appends all scores at or above a floor to their row's or column's candidates; lists that are full drop what has
    // fallen below the floor since.
    void (*collect)(const Block<float>& block, const ScreenState& state);
    // Adds how many scores lie above the high limits of their row and column. Lists those within a range, by their
    // place row * columns + column, and returns how many.
    std::int64_t (*count)(const Block<float>& block, const CountState& state);
};

namespace avx512 {
extern const ScreenKernels screen;
}

} // namespace pcsr

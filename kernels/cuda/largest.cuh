// The largest score of every row and column of a warp's part of a tile, and the first place that holds it (KERNELS 1,
// K1). Scores first, then places: keys of both would cost two comparisons of 64 bits a score.
#pragma once

#include "reduce.cuh"

namespace pcsr::cuda {

// For `combine_lanes`: the largest score, NaN if one is, and the first place.
struct Largest {
    using Value = float;
    static __device__ __forceinline__ float combine(float a, float b) { return larger(a, b); }
};
struct First {
    using Value = int;
    static __device__ __forceinline__ int combine(int a, int b) { return a < b ? a : b; }
};

// The largest of a thread's scores at(0), at(1), ..., NaN if one is.
template <int COUNT, class At>
__device__ __forceinline__ float largest_of(const At& at) {
    float largest = at(0);
#pragma unroll
    for (int k = 1; k < COUNT; ++k) {
        largest = larger(largest, at(k));
    }
    return largest;
}

// Where the first of them is that is the largest; TILE if none is. NANS: where NaN, which equals nothing, may be it.
template <bool NANS, int COUNT, class At, class Place>
__device__ __forceinline__ int first_of(const At& at, float largest, const Place& place) {
    int first = TILE;
#pragma unroll
    for (int k = COUNT - 1; k >= 0; --k) {
        first = at(k) == largest || (NANS && at(k) != at(k)) ? place(k) : first;
    }
    return first;
}

// What a lane keeps of rows or columns that several lanes hold: one of each `LANES`, so that all pack and store at
// once.
template <int LANES>
struct Kept {
    int own; // the number of this lane among them
    float score = 0.0f;
    int place = 0;

    // `keep` is called with the number and key of the one that is this lane's, after the last of each LANES.
    template <class Keep>
    __device__ __forceinline__ void add(int number, float largest, int first, const Keep& keep) {
        score = number % LANES == own ? largest : score;
        place = number % LANES == own ? first : place;
        if (number % LANES == LANES - 1) {
            keep(number - (LANES - 1) + own, packed(ordered(score), static_cast<std::uint32_t>(place)));
        }
    }
};

template <class Layout, bool NANS>
__device__ __forceinline__ void reduce_columns(const typename Layout::Fragments& sums,
                                               Partials<Layout, Key>& partials) {
    constexpr int ROWS = Layout::DOWN * 2, COLUMNS = Layout::ACROSS * 2;
    const int thread = thread_now(), lane = thread % 32;
    const typename Layout::Place place(thread);
    auto& columns = partials.columns[thread / 32 / Layout::WARPS_ACROSS];
    Kept<8> kept{lane / 4};
#pragma unroll
    for (int column = 0; column < COLUMNS; ++column) {
        const auto at = [&](int k) { return sums[k / 2][column / 2][k % 2 * 2 + column % 2]; };
        const float largest = combine_lanes<Largest>(largest_of<ROWS>(at), 4, 32);
        const int row = first_of<NANS, ROWS>(at, largest, [](int k) { return k / 2 * 16 + k % 2 * 8; });
        kept.add(column, largest, combine_lanes<First>(place.row + row, 4, 32),
                 [&](int number, Key key) { columns[place.column_of(number / 2, number % 2)] = key; });
    }
}

// Of scores without a bound to the tile: what does not count is -infinity.
template <class Layout>
__device__ __forceinline__ void reduce_to_largest(const typename Layout::Fragments& sums,
                                                  Partials<Layout, Key>& partials) {
    constexpr int ROWS = Layout::DOWN * 2, COLUMNS = Layout::ACROSS * 2, LANES = ROWS < 4 ? ROWS : 4;
    const int thread = thread_now(), lane = thread % 32;
    const typename Layout::Place place(thread);
    auto& rows = partials.rows[thread / 32 % Layout::WARPS_ACROSS];
    Kept<LANES> kept{lane % LANES};
    bool nans = false; // of the warp, which goes one way
#pragma unroll
    for (int k = 0; k < ROWS; ++k) {
        const auto at = [&](int column) { return sums[k / 2][column / 2][k % 2 * 2 + column % 2]; };
        const auto place_of = [](int column) { return column / 2 * 8 + column % 2; };
        const float largest = combine_lanes<Largest>(largest_of<COLUMNS>(at), 1, 4);
        const bool nan = __ballot_sync(WARP, largest != largest);
        const int column =
            nan ? first_of<true, COLUMNS>(at, largest, place_of) : first_of<false, COLUMNS>(at, largest, place_of);
        kept.add(k, largest, combine_lanes<First>(place.column + column, 1, 4), [&](int number, Key key) {
            if (lane % 4 < LANES) {
                rows[place.row_of(number / 2, number % 2 * 2)] = key;
            }
        });
        nans = nans || nan;
    }
    if (nans) {
        reduce_columns<Layout, true>(sums, partials);
    } else {
        reduce_columns<Layout, false>(sums, partials);
    }
}

} // namespace pcsr::cuda

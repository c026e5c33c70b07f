#include "screen.h"

#include <immintrin.h>

namespace pcsr::avx512 {
namespace {

constexpr int lanes = 16;

// Values k.. of a row as float32, zeros where `inside` is not set.
__m512 wide_values(const Matrix& from, std::int64_t row, std::int64_t k, __mmask16 inside) {
    const std::int64_t start = row * from.stride + k;
    if (from.type == Type::bf16) {
        const auto* half = static_cast<const std::uint16_t*>(from.data) + start;
        return _mm512_castsi512_ps(
            _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(inside, half)), 16));
    }
    return _mm512_maskz_loadu_ps(inside, static_cast<const float*>(from.data) + start);
}

// What rounding to bfloat16 takes away; the difference is exact.
__m512 lost_by_rounding(__m512 value) {
    const __m512i bits = _mm512_castps_si512(value);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __m512i kept = _mm512_and_si512(up, _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
    return _mm512_sub_ps(value, _mm512_castsi512_ps(kept));
}

__mmask16 lanes_left(std::int64_t count) {
    return count < lanes ? static_cast<__mmask16>((1u << count) - 1) : static_cast<__mmask16>(-1);
}

// Squares summed in float64: for rows so short or so long that float32 would lose them.
RowSize measure_wide(const Matrix& from, std::int64_t row) {
    __m512d length = _mm512_setzero_pd(), rounding = length;
    for (std::int64_t k = 0; k < from.width; k += lanes) {
        const __m512 value = wide_values(from, row, k, lanes_left(from.width - k)), lost = lost_by_rounding(value);
        for (int half = 0; half < 2; ++half) {
            const auto wide = [half](__m512 v) {
                return _mm512_cvtps_pd(half == 0 ? _mm512_castps512_ps256(v) : _mm512_extractf32x8_ps(v, 1));
            };
            length = _mm512_fmadd_pd(wide(value), wide(value), length);
            rounding = _mm512_fmadd_pd(wide(lost), wide(lost), rounding);
        }
    }
    return {__builtin_sqrt(_mm512_reduce_add_pd(length)), __builtin_sqrt(_mm512_reduce_add_pd(rounding))};
}

// Rounded up by more than sums of squares in float32 can lose.
RowSize measure(const Matrix& from, std::int64_t row) {
    constexpr double shortest = 1e-10, longest = 1e15; // of a row whose squares float32 holds
    constexpr double underflow = 1e-18;                // of what rounding takes from one value
    __m512 length = _mm512_setzero_ps(), rounding = length;
    for (std::int64_t k = 0; k < from.width; k += lanes) {
        const __m512 value = wide_values(from, row, k, lanes_left(from.width - k)), lost = lost_by_rounding(value);
        length = _mm512_fmadd_ps(value, value, length);
        rounding = _mm512_fmadd_ps(lost, lost, rounding);
    }
    const double width = static_cast<double>(from.width), up = 1 + 1e-7 * (width / lanes + lanes);
    const double whole = __builtin_sqrt(static_cast<double>(_mm512_reduce_add_ps(length))) * up;
    if (!(whole > shortest && whole < longest)) {
        return measure_wide(from, row);
    }
    const double lost = __builtin_sqrt(static_cast<double>(_mm512_reduce_add_ps(rounding))) * up;
    return {whole, lost + underflow * width};
}

void raise(const Block<float>& block, const ScreenState& state) {
    const __m512 none = _mm512_set1_ps(-__builtin_inff());
    for (std::int64_t column = 0; column < block.columns; column += lanes) {
        const __m512i ids = _mm512_loadu_si512(state.column_ids + column);
        __m512 best = _mm512_loadu_ps(state.column_best + column);
        for (std::int64_t row = 0; row < block.rows; ++row) {
            float* const scores = block.scores + row * block.stride + column;
            __m512 score = _mm512_loadu_ps(scores);
            const __mmask16 same = _mm512_cmpeq_epi32_mask(ids, _mm512_set1_epi32(state.row_ids[row]));
            if (same != 0) {
                score = _mm512_mask_mov_ps(score, same, none);
                _mm512_storeu_ps(scores, score);
            }
            best = _mm512_max_ps(best, score);
            float* const row_best = state.row_best + row * lanes;
            _mm512_storeu_ps(row_best, _mm512_max_ps(_mm512_loadu_ps(row_best), score));
        }
        _mm512_storeu_ps(state.column_best + column, best);
    }
}

void append(Candidates& list, std::int32_t at, float score, float floor) {
    if (list.count == candidate_slots) {
        list.count = 0;
        for (std::int32_t i = 0; i < candidate_slots; ++i) {
            if (list.score[i] >= floor) {
                list.at[list.count] = list.at[i];
                list.score[list.count++] = list.score[i];
            }
        }
    }
    if (list.count < candidate_slots) {
        list.at[list.count] = at;
        list.score[list.count++] = score;
    } else {
        list.count = candidate_slots + 1;
    }
}

void collect(const Block<float>& block, const ScreenState& state) {
    for (std::int64_t row = 0; row < block.rows; ++row) {
        const float* const scores = block.scores + row * block.stride;
        const __m512 row_floor = _mm512_set1_ps(state.row_floor[row]);
        for (std::int64_t column = 0; column < block.columns; column += lanes) {
            const __m512 score = _mm512_loadu_ps(scores + column);
            const __m512 column_floor = _mm512_loadu_ps(state.column_floor + column);
            unsigned hits = _mm512_cmp_ps_mask(score, _mm512_min_ps(row_floor, column_floor), _CMP_GE_OQ);
            for (; hits != 0; hits &= hits - 1) {
                const std::int64_t at = column + __builtin_ctz(hits);
                if (scores[at] >= state.row_floor[row]) {
                    append(state.rows[row], static_cast<std::int32_t>(block.first_column + at), scores[at],
                           state.row_floor[row]);
                }
                if (scores[at] >= state.column_floor[at]) {
                    append(state.columns[at], static_cast<std::int32_t>(block.first_row + row), scores[at],
                           state.column_floor[at]);
                }
            }
        }
    }
}

std::int64_t count(const Block<float>& block, const CountState& state) {
    std::int64_t found = 0;
    for (std::int64_t row = 0; row < block.rows; ++row) {
        const __m512 low = _mm512_set1_ps(state.row_low[row]), high = _mm512_set1_ps(state.row_high[row]);
        for (std::int64_t column = 0; column < block.columns; column += lanes) {
            const __m512 score = _mm512_loadu_ps(block.scores + row * block.stride + column);
            const __m512 column_low = _mm512_loadu_ps(state.column_low + column);
            const __m512 column_high = _mm512_loadu_ps(state.column_high + column);
            const __mmask16 above = _mm512_cmp_ps_mask(score, high, _CMP_GT_OQ);
            const __mmask16 above_column = _mm512_cmp_ps_mask(score, column_high, _CMP_GT_OQ);
            state.row_counts[row] += __builtin_popcount(above);
            const __m512i counts = _mm512_loadu_si512(state.column_counts + column);
            _mm512_storeu_si512(state.column_counts + column,
                                _mm512_mask_add_epi32(counts, above_column, counts, _mm512_set1_epi32(1)));
            const unsigned within = _mm512_cmp_ps_mask(score, low, _CMP_GE_OQ) & ~above;
            const unsigned within_column = _mm512_cmp_ps_mask(score, column_low, _CMP_GE_OQ) & ~above_column;
            for (unsigned hits = within | within_column; hits != 0; hits &= hits - 1) {
                state.doubtful[found++] = static_cast<std::int32_t>(row * block.columns + column) + __builtin_ctz(hits);
            }
        }
    }
    return found;
}

} // namespace

extern constexpr ScreenKernels screen = {lanes, measure, raise, collect, count};

} // namespace pcsr::avx512

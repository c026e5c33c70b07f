#include "half_pack.h"

namespace pcsr::avx512_bf16 {
namespace {

constexpr int panel_rows = 14;
constexpr int row_gap = half_step; // so that the rows of a panel do not share a cache set

void pack_rows(const Matrix& from, std::int64_t first, std::int64_t count, std::uint16_t* out) {
    const std::int64_t padded = (from.width + half_step - 1) / half_step * half_step;
    for (std::int64_t row = 0; row < (count + panel_rows - 1) / panel_rows * panel_rows; ++row) {
        for (std::int64_t k = 0; k < padded; k += half_step) {
            _mm512_storeu_si512(out + k, row < count ? half_values(from, first + row, k) : _mm512_setzero_si512());
        }
        out += padded + row_gap;
    }
}

__m512bh pairs(__m512i bits) {
    return reinterpret_cast<__m512bh>(bits);
}

void multiply(const std::uint16_t* rows, std::int64_t row_panels, const std::uint16_t* columns, std::int64_t width,
              float* scores, std::int64_t stride) {
    const std::int64_t padded = (width + half_step - 1) / half_step * half_step;
    const std::int64_t row_stride = padded + row_gap;
    for (std::int64_t panel = 0; panel < row_panels; ++panel) {
        const std::uint16_t* a = rows + panel * panel_rows * row_stride;
        const std::uint16_t* b = columns;
        __m512 sums[panel_rows][2];
#pragma GCC unroll 14
        for (int row = 0; row < panel_rows; ++row) {
            sums[row][0] = sums[row][1] = _mm512_setzero_ps();
        }
        for (std::int64_t k = 0; k < padded; k += 2, a += 2, b += 2 * half_columns) {
            const __m512bh b0 = pairs(_mm512_loadu_si512(b)), b1 = pairs(_mm512_loadu_si512(b + half_columns));
#pragma GCC unroll 14
            for (int row = 0; row < panel_rows; ++row) {
                std::int32_t pair;
                __builtin_memcpy(&pair, a + row * row_stride, sizeof pair);
                const __m512bh x = pairs(_mm512_set1_epi32(pair));
                sums[row][0] = _mm512_dpbf16_ps(sums[row][0], x, b0);
                sums[row][1] = _mm512_dpbf16_ps(sums[row][1], x, b1);
            }
        }
#pragma GCC unroll 14
        for (int row = 0; row < panel_rows; ++row) {
            float* const to = scores + (panel * panel_rows + row) * stride;
            _mm512_storeu_ps(to, sums[row][0]);
            _mm512_storeu_ps(to + 16, sums[row][1]);
        }
    }
}

} // namespace

extern constexpr HalfKernels products = {
    panel_rows, half_columns, half_step, row_gap, pack_rows, pack_half_columns<half_columns>, multiply};

} // namespace pcsr::avx512_bf16

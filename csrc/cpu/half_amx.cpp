#include "half_pack.h"

namespace pcsr::amx {
namespace {

constexpr int tile = 16; // rows of a tile; its 64 bytes hold 32 bfloat16 or 16 float32
constexpr int panel_rows = 2 * tile;
constexpr int prefetched_steps = 2; // of depth, ahead of the products

struct TileShape {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {tile, tile, tile, tile, tile, tile, tile, tile};
};

// [k / 32][row][k % 32]: a tile's rows follow each other.
void pack_rows(const Matrix& from, std::int64_t first, std::int64_t count, std::uint16_t* out) {
    for (std::int64_t done = 0; done < count; done += panel_rows) {
        for (std::int64_t k = 0; k < from.width; k += half_step) {
            for (std::int64_t row = done; row < done + panel_rows; ++row, out += half_step) {
                _mm512_storeu_si512(out, row < count ? half_values(from, first + row, k) : _mm512_setzero_si512());
            }
        }
    }
}

// The lines of two tiles: loads wait for whole tiles, and the hardware does not see rows coming soon enough.
void prefetch_tiles(const std::uint16_t* from) {
#pragma GCC unroll 32
    for (int line = 0; line < 2 * tile; ++line) {
        _mm_prefetch(reinterpret_cast<const char*>(from + line * half_step), _MM_HINT_T0);
    }
}

// 2 x 2 tiles of sums: all four inputs are loaded before the products, which measured fastest.
void multiply(const std::uint16_t* rows, std::int64_t row_panels, const std::uint16_t* columns, std::int64_t width,
              float* scores, std::int64_t stride) {
    const TileShape shape;
    _tile_loadconfig(&shape);
    const std::int64_t padded = (width + half_step - 1) / half_step * half_step;
    constexpr int values = tile * half_step;
    constexpr int bytes = half_step * sizeof(std::uint16_t);
    for (std::int64_t panel = 0; panel < row_panels; ++panel) {
        const std::uint16_t* a = rows + panel * panel_rows * padded;
        const std::uint16_t* b = columns;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (std::int64_t k = 0; k < padded; k += half_step, a += 2 * values, b += 2 * values) {
            _tile_loadd(4, a, bytes);
            _tile_loadd(5, a + values, bytes);
            _tile_loadd(6, b, bytes);
            _tile_loadd(7, b + values, bytes);
            prefetch_tiles(a + prefetched_steps * 2 * values);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        float* const to = scores + panel * panel_rows * stride;
        const std::int64_t out_bytes = stride * sizeof(float);
        _tile_stored(0, to, out_bytes);
        _tile_stored(1, to + tile, out_bytes);
        _tile_stored(2, to + tile * stride, out_bytes);
        _tile_stored(3, to + tile * stride + tile, out_bytes);
    }
    _tile_release();
}

} // namespace

extern constexpr HalfKernels products = {panel_rows, half_columns, half_step, 0, pack_rows, pack_half_columns<tile>,
                                         multiply};

} // namespace pcsr::amx

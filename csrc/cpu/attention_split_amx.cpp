#include "attention_split.h"

#include <immintrin.h>

namespace pcsr::amx {
namespace {

constexpr int tile = 16; // rows of a tile; its 64 bytes hold 32 bfloat16 or 16 float32
constexpr int panel_rows = 2 * tile;
constexpr int panel_columns = 2 * tile;
constexpr int depth = 32;
constexpr int values = tile * depth; // of a tile

struct TileShape {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {tile, tile, tile, tile, tile, tile, tile, tile};
};

std::uint16_t round_half(float value) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return static_cast<std::uint16_t>((bits + 0x8000) >> 16); // to the nearest, ties away from zero
}

float widen(std::uint16_t half) {
    const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

struct Parts {
    std::uint16_t large[depth];
    std::uint16_t small[depth];
};

// Values k..k+32 of a row, zeros beyond the width and from row `end` on.
Parts split_values(const Matrix& from, std::int64_t row, std::int64_t end, std::int64_t k) {
    float row_values[depth] = {};
    if (row < end) {
        const std::int64_t count = from.width - k < depth ? from.width - k : depth;
        __builtin_memcpy(row_values, static_cast<const float*>(from.data) + row * from.stride + k,
                         count * sizeof(float));
    }
    Parts parts;
    for (int n = 0; n < depth; ++n) {
        parts.large[n] = round_half(row_values[n]);
        parts.small[n] = round_half(row_values[n] - widen(parts.large[n]));
    }
    return parts;
}

// [k / 32][part][row][k % 32].
void pack_rows(const Matrix& from, std::int64_t first, std::int64_t count, Split* out) {
    auto* to = reinterpret_cast<std::uint16_t*>(out);
    for (std::int64_t done = 0; done < count; done += panel_rows) {
        for (std::int64_t k = 0; k < from.width; k += depth, to += 4 * values) {
            for (int row = 0; row < panel_rows; ++row) {
                const Parts parts = split_values(from, first + done + row, first + count, k);
                __builtin_memcpy(to + row * depth, parts.large, sizeof parts.large);
                __builtin_memcpy(to + 2 * values + row * depth, parts.small, sizeof parts.small);
            }
        }
    }
}

// [k / 32][column / 16][part][k % 32 / 2][column % 16][k % 2].
void pack_columns(const Matrix& from, std::int64_t first, std::int64_t count, Split* out) {
    constexpr int pair = 2 * sizeof(std::uint16_t);
    auto* to = reinterpret_cast<std::uint16_t*>(out);
    for (std::int64_t done = 0; done < count; done += panel_columns) {
        for (std::int64_t k = 0; k < from.width; k += depth, to += 4 * values) {
            for (int column = 0; column < panel_columns; ++column) {
                const Parts parts = split_values(from, first + done + column, first + count, k);
                for (int n = 0; n < depth; n += 2) {
                    std::uint16_t* const at = to + column / tile * 2 * values + (n / 2 * tile + column % tile) * 2;
                    __builtin_memcpy(at, parts.large + n, pair);
                    __builtin_memcpy(at + values, parts.small + n, pair);
                }
            }
        }
    }
}

// The lines of two tiles.
void prefetch_tiles(const std::uint16_t* from) {
#pragma GCC unroll 32
    for (int line = 0; line < 2 * tile; ++line) {
        _mm_prefetch(reinterpret_cast<const char*>(from + line * depth), _MM_HINT_T0);
    }
}

// 2 x 2 tiles of sums: large by small parts, large by large, small by large, so that each tile is loaded once.
void multiply(const Split* rows, std::int64_t row_panels, const Split* columns, std::int64_t width, float* scores,
              std::int64_t stride) {
    const TileShape shape;
    _tile_loadconfig(&shape);
    const std::int64_t blocks = (width + depth - 1) / depth;
    constexpr int bytes = depth * sizeof(std::uint16_t);
    const auto* a = reinterpret_cast<const std::uint16_t*>(rows);
    for (std::int64_t panel = 0; panel < row_panels; ++panel) {
        const auto* b = reinterpret_cast<const std::uint16_t*>(columns);
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (std::int64_t block = 0; block < blocks; ++block, a += 4 * values, b += 4 * values) {
            _tile_loadd(4, a, bytes);
            _tile_loadd(5, a + values, bytes);
            _tile_loadd(6, b + values, bytes);
            _tile_loadd(7, b + 3 * values, bytes);
            prefetch_tiles(a + 4 * values);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
            _tile_loadd(6, b, bytes);
            _tile_loadd(7, b + 2 * values, bytes);
            prefetch_tiles(a + 6 * values);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
            _tile_loadd(4, a + 2 * values, bytes);
            _tile_loadd(5, a + 3 * values, bytes);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        float* const to = scores + panel * panel_rows * stride;
        const std::int64_t out_bytes = stride * static_cast<std::int64_t>(sizeof(float));
        _tile_stored(0, to, out_bytes);
        _tile_stored(1, to + tile, out_bytes);
        _tile_stored(2, to + tile * stride, out_bytes);
        _tile_stored(3, to + tile * stride + tile, out_bytes);
    }
    _tile_release();
}

} // namespace

extern constexpr SplitKernels split_products = {panel_rows, panel_columns, depth, 0, pack_rows, pack_columns, multiply};

} // namespace pcsr::amx

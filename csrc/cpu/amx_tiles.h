// 2 x 2 tiles of sums and the four tiles they are made from. For files compiled for AMX.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace pcsr::amx {
namespace {

constexpr int tile = 16;       // rows of a tile; its 64 bytes hold 32 bfloat16 or 16 float32
constexpr int tile_depth = 32; // bfloat16 of a row
constexpr int tile_values = tile * tile_depth;
constexpr int panel_rows = 2 * tile;

struct TileShape {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {tile, tile, tile, tile, tile, tile, tile, tile};
};

// Two tiles of rows into 4 and 5, two of columns into 6 and 7.
inline void load_rows(const std::uint16_t* first, const std::uint16_t* second) {
    _tile_loadd(4, first, tile_depth * sizeof(std::uint16_t));
    _tile_loadd(5, second, tile_depth * sizeof(std::uint16_t));
}
inline void load_columns(const std::uint16_t* first, const std::uint16_t* second) {
    _tile_loadd(6, first, tile_depth * sizeof(std::uint16_t));
    _tile_loadd(7, second, tile_depth * sizeof(std::uint16_t));
}

inline void clear_sums() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

inline void add_products() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

inline void store_sums(float* to, std::int64_t stride) {
    const std::int64_t bytes = stride * static_cast<std::int64_t>(sizeof(float));
    _tile_stored(0, to, bytes);
    _tile_stored(1, to + tile, bytes);
    _tile_stored(2, to + tile * stride, bytes);
    _tile_stored(3, to + tile * stride + tile, bytes);
}

// The lines of two tiles: loads wait for whole tiles, and the hardware does not see rows coming soon enough.
inline void prefetch_tiles(const std::uint16_t* from) {
#pragma GCC unroll 32
    for (int line = 0; line < 2 * tile; ++line) {
        _mm_prefetch(reinterpret_cast<const char*>(from + line * tile_depth), _MM_HINT_T0);
    }
}

} // namespace
} // namespace pcsr::amx

#include "amx_tiles.h"
#include "attention_split.h"

namespace pcsr::amx {
namespace {

constexpr int panel_columns = 2 * tile;
constexpr int depth = tile_depth;
constexpr int values = tile_values;

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

// 2 x 2 tiles of sums: large by small parts, large by large, small by large, so that each tile is loaded once.
void multiply(const Split* rows, std::int64_t row_panels, const Split* columns, std::int64_t width, float* scores,
              std::int64_t stride) {
    const TileShape shape;
    _tile_loadconfig(&shape);
    const std::int64_t blocks = (width + depth - 1) / depth;
    const auto* a = reinterpret_cast<const std::uint16_t*>(rows);
    for (std::int64_t panel = 0; panel < row_panels; ++panel) {
        const auto* b = reinterpret_cast<const std::uint16_t*>(columns);
        clear_sums();
        for (std::int64_t block = 0; block < blocks; ++block, a += 4 * values, b += 4 * values) {
            load_rows(a, a + values);
            load_columns(b + values, b + 3 * values);
            prefetch_tiles(a + 4 * values);
            add_products();
            load_columns(b, b + 2 * values);
            prefetch_tiles(a + 6 * values);
            add_products();
            load_rows(a + 2 * values, a + 3 * values);
            add_products();
        }
        store_sums(scores + panel * panel_rows * stride, stride);
    }
    _tile_release();
}

} // namespace

extern constexpr SplitKernels split_products = {panel_rows, panel_columns, depth, 0, pack_rows, pack_columns, multiply};

} // namespace pcsr::amx

#include "amx_tiles.h"
#include "half_pack.h"

namespace pcsr::amx {
namespace {

static_assert(half_step == tile_depth);
constexpr int prefetched_steps = 2; // of depth, ahead of the products

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

// 2 x 2 tiles of sums: all four inputs are loaded before the products, which measured fastest.
void multiply(const std::uint16_t* rows, std::int64_t row_panels, const std::uint16_t* columns, std::int64_t width,
              float* scores, std::int64_t stride) {
    const TileShape shape;
    _tile_loadconfig(&shape);
    const std::int64_t padded = (width + half_step - 1) / half_step * half_step;
    for (std::int64_t panel = 0; panel < row_panels; ++panel) {
        const std::uint16_t* a = rows + panel * panel_rows * padded;
        const std::uint16_t* b = columns;
        clear_sums();
        for (std::int64_t k = 0; k < padded; k += half_step, a += 2 * tile_values, b += 2 * tile_values) {
            load_rows(a, a + tile_values);
            load_columns(b, b + tile_values);
            prefetch_tiles(a + prefetched_steps * 2 * tile_values);
            add_products();
        }
        store_sums(scores + panel * panel_rows * stride, stride);
    }
    _tile_release();
}

} // namespace

extern constexpr HalfKernels products = {panel_rows, half_columns, half_step, 0, pack_rows, pack_half_columns<tile>,
                                         multiply};

} // namespace pcsr::amx

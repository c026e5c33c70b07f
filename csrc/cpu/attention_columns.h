// How cross-attention packs its inputs: images as rows, captions as columns of chunks, weights as rows.
#pragma once

#include "attention.h"
#include "attention_scores.h"
#include "blocks.h"

#include <numeric>
#include <type_traits>

namespace pcsr {

constexpr std::int64_t row_block_bytes = 128 << 10; // of weights that stay while all columns of a chunk pass

// The products of P with the layout of their columns, which those of regions share. Panels are packed one by one,
// `panel_size` apart.
template <typename P>
struct Layout {
    const ProductKernels<float, P>& products;
    const PanelKernels<P>& panels;
    int group;
    const ProductKernels<float, P>& region_products = products; // whose rows are the regions of one image

    Layout of_regions() const { return {region_products, panels, group, region_products}; }

    std::int64_t columns() const { return products.panel_columns; }
    std::int64_t padded_columns(std::int64_t count) const { return round_up(count, columns()); }
    std::int64_t padded_rows(std::int64_t count) const { return round_up(count, products.panel_rows); }
    std::int64_t panel_size(std::int64_t depth) const {
        return round_up(depth, std::max(products.depth_step, 2)) * columns();
    }
    // Where the panel that begins with a column lies.
    std::int64_t panel_start(std::int64_t column, std::int64_t depth) const {
        return column / columns() * panel_size(depth);
    }
    std::int64_t rows_size(std::int64_t rows, std::int64_t depth) const {
        return padded_rows(rows) * (round_up(depth, products.depth_step) + products.row_gap);
    }
    Memory<P> pack_rows(const Matrix& from, std::int64_t first, std::int64_t rows) const {
        auto packed = aligned_memory<P>(rows_size(rows, from.width));
        products.pack_rows(from, first, rows, packed.get());
        return packed;
    }
    // to[row][column] of `count` rows and `columns` columns, both as packed. A block of rows stays in the cache while
    // all columns pass.
    void multiply(const P* rows, std::int64_t count, const P* panels, std::int64_t columns, std::int64_t depth,
                  float* to, std::int64_t stride) const {
        const std::int64_t panel = products.panel_rows, size = rows_size(1, depth);
        const std::int64_t block = std::max<std::int64_t>(row_block_bytes / (size * sizeof(P)), 1) * panel;
        for (std::int64_t row = 0; row < count; row += block) {
            const std::int64_t left = padded_rows(std::min(block, count - row)) / panel;
            for (std::int64_t column = 0; column < columns; column += this->columns()) {
                products.multiply(rows + row / panel * size, left, panels + panel_start(column, depth), depth,
                                  to + row * stride + column, stride);
            }
        }
    }
};

inline const AttentionKernels& attention_kernels() {
    return PCSR_TABLE(attention);
}

inline Matrix as_matrix(const float* data, std::int64_t rows, std::int64_t width) {
    return {data, Type::f32, rows, width, width};
}

// Captions that are worked on together: which they are, and where their nodes lie.
struct Chunk {
    std::vector<std::int64_t> captions;
    std::vector<Segment> segments;
    std::int64_t first = 0; // column of all chunks
    std::int64_t used = 0;
    std::int64_t columns = 0; // whole panels
};

// Each caption, the longest first, joins the fullest chunk of `capacity` columns that still has room.
inline std::vector<Chunk> plan_chunks(const CrossAttention& problem, std::int64_t capacity, std::int64_t panel) {
    std::vector<std::int64_t> order(problem.captions());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int64_t a, std::int64_t b) { return problem.lengths[a] > problem.lengths[b]; });
    std::vector<Chunk> chunks;
    std::vector<std::vector<std::size_t>> with_room(capacity + 1); // chunks by the columns they have left
    for (const std::int64_t caption : order) {
        const std::int64_t nodes = problem.lengths[caption] + 1;
        std::int64_t room = nodes;
        while (room <= capacity && with_room[room].empty()) {
            ++room;
        }
        std::size_t at = chunks.size();
        if (room <= capacity) {
            at = with_room[room].back();
            with_room[room].pop_back();
        } else {
            chunks.emplace_back();
        }
        Chunk& chunk = chunks[at];
        chunk.captions.push_back(caption);
        chunk.segments.push_back({chunk.used, nodes});
        chunk.used += nodes;
        with_room[std::max<std::int64_t>(capacity - chunk.used, 0)].push_back(at);
    }
    std::int64_t first = 0;
    for (Chunk& chunk : chunks) {
        chunk.first = first;
        chunk.columns = round_up(chunk.used, panel);
        first += chunk.columns;
    }
    return chunks;
}

// All words as columns of panels, as the products read them and in float32. Global nodes are columns of zeros.
template <typename P>
class Captions {
public:
    Captions(const CrossAttention& problem, const Layout<P>& layout, std::int64_t capacity)
        : chunks(plan_chunks(problem, capacity, layout.columns())), layout_(layout), width_(problem.words.width) {
        for (const Chunk& chunk : chunks) {
            most_columns = std::max(most_columns, chunk.columns);
            most_captions = std::max<std::int64_t>(most_captions, chunk.captions.size());
        }
        const std::int64_t panels = (chunks.back().first + chunks.back().columns) / layout.columns();
        packed_ = aligned_memory<P>(panels * layout.panel_size(width_));
        squares_ = aligned_memory<float>(panels * layout.columns());
        if constexpr (!same_type) {
            values_ = aligned_memory<float>(panels * layout.columns() * width_);
        }
        const auto count = static_cast<std::int64_t>(chunks.size());
#pragma omp parallel for schedule(static) num_threads(threads_for(double(problem.words.rows) * double(width_)))
        for (std::int64_t chunk = 0; chunk < count; ++chunk) {
            pack(problem, chunks[chunk]);
        }
    }

    const P* packed(std::int64_t column) const { return packed_.get() + layout_.panel_start(column, width_); }
    const float* values(std::int64_t column) const {
        if constexpr (same_type) {
            return packed(column);
        } else {
            return values_.get() + column * width_;
        }
    }
    const float* squares(std::int64_t column) const { return squares_.get() + column; }

    std::vector<Chunk> chunks;
    std::int64_t most_columns = 0;
    std::int64_t most_captions = 0;

private:
    static constexpr bool same_type = std::is_same_v<P, float>;

    void pack(const CrossAttention& problem, const Chunk& chunk) {
        const auto rows = aligned_memory<float>(chunk.columns * width_);
        std::fill_n(rows.get(), chunk.columns * width_, 0.0f);
        const auto* const words = static_cast<const float*>(problem.words.data);
        for (std::size_t n = 0; n < chunk.captions.size(); ++n) {
            const std::int64_t start = chunk.captions[n] * problem.longest;
            for (std::int64_t word = 0; word + 1 < chunk.segments[n].count; ++word) {
                std::copy_n(words + (start + word) * problem.words.stride, width_,
                            rows.get() + (chunk.segments[n].first + 1 + word) * width_);
            }
        }
        const Matrix gathered = as_matrix(rows.get(), chunk.columns, width_);
        const std::int64_t panel = layout_.columns();
        for (std::int64_t column = 0; column < chunk.columns; column += panel) {
            layout_.products.pack_columns(gathered, column, panel,
                                          packed_.get() + layout_.panel_start(chunk.first + column, width_));
            if constexpr (!same_type) {
                transpose(rows.get() + column * width_, panel, values_.get() + (chunk.first + column) * width_);
            }
        }
        for (std::int64_t column = 0; column < chunk.columns; ++column) {
            const float* const row = rows.get() + column * width_;
            squares_[chunk.first + column] = std::inner_product(row, row + width_, row, 0.0f);
        }
    }

    void transpose(const float* from, std::int64_t columns, float* to) const {
        for (std::int64_t k = 0; k < width_; ++k) {
            for (std::int64_t column = 0; column < columns; ++column) {
                to[k * columns + column] = from[column * width_ + k];
            }
        }
    }

    const Layout<P>& layout_;
    std::int64_t width_;
    Memory<P> packed_;
    Memory<float> values_;
    Memory<float> squares_;
};

} // namespace pcsr

// The loop every op over S = x y^T shares: blocks of scores, made in scratch memory and reduced at once.
#pragma once

#include "product.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

#ifdef _OPENMP
#    include <omp.h>
#endif

namespace pcsr {

// Below this many multiplications waking other threads costs more than it saves.
constexpr double parallel_work = 1 << 22;
// Rows are read once for every chunk of columns: of sets larger than memory not too often.
constexpr std::int64_t most_chunks = 64;
constexpr std::int64_t largest_chunk_bytes = 128 << 20;
constexpr int fixed_parts = 32; // of sums, so that they do not depend on the number of threads

struct Free {
    void operator()(void* memory) const { std::free(memory); }
};

template <typename T>
using Memory = std::unique_ptr<T[], Free>;

// Uninitialised memory on a cache line.
template <typename T>
Memory<T> aligned_memory(std::int64_t count) {
    const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
    void* memory = std::aligned_alloc(64, std::max<std::size_t>(bytes, 64));
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return Memory<T>(static_cast<T*>(memory));
}

inline int threads_for(double work) {
#ifdef _OPENMP
    return work < parallel_work ? 1 : omp_get_max_threads();
#else
    return 1;
#endif
}

inline int this_thread() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

inline std::int64_t round_up(std::int64_t value, std::int64_t step) {
    return (value + step - 1) / step * step;
}

template <typename T>
const ProductKernels<T>& product_kernels() {
    return of_type<T>(PCSR_TABLE(products_f32), PCSR_TABLE(products_f64));
}

template <typename T>
const GradientKernels<T>& gradient_kernels() {
    return of_type<T>(PCSR_TABLE(gradients_f32), PCSR_TABLE(gradients_f64));
}

template <typename T>
const DotKernels<T>& dot_kernels() {
    return of_type<T>(PCSR_TABLE(dots_f32), PCSR_TABLE(dots_f64));
}

// Columns beyond the `columns` of the matrix score -infinity: never the hardest, nothing in any sum.
template <typename T>
void blank(const Block<T>& block, std::int64_t columns) {
    const std::int64_t inside = columns - block.first_column;
    for (std::int64_t row = 0; inside < block.columns && row < block.rows; ++row) {
        T* const scores = block.scores + row * block.stride;
        std::fill(scores + inside, scores + block.columns, -std::numeric_limits<T>::infinity());
    }
}

// Scores of the pairs of equal numbers, by the chain of sums that blocks are made by.
template <typename T>
void own_scores(const Matrix& x, const Matrix& y, T* out) {
    std::vector<std::int64_t> pairs(static_cast<std::size_t>(std::min(x.rows, y.rows)));
    std::iota(pairs.begin(), pairs.end(), 0);
    dot_kernels<T>().dots(x, pairs.data(), y, pairs.data(), static_cast<std::int64_t>(pairs.size()), out);
}

// What visits blocks of S: `parts` ranges of rows in rising order, each seen by one thread at a time (its `slot`).
// Within a part, chunks of columns come first, then blocks of rows, then panels of columns.
template <typename T>
struct BlockVisitor {
    virtual ~BlockVisitor() = default;
    virtual void begin_rows(int slot, std::int64_t first, std::int64_t rows) = 0;
    virtual void visit(int part, int slot, const Block<T>& block) = 0;
    // All panels of the chunk, where the loop keeps them; else the last.
    virtual void end_rows(int part, int slot, const Block<T>& block) = 0;
};

// How a loop is cut. The defaults are for products in T.
struct Cut {
    std::int64_t column_chunk_bytes = 8 << 20; // packed columns that stay while all rows pass
    std::int64_t row_block_bytes = 768 << 10;  // packed rows that stay in the second-level cache
    std::int64_t most_rows = 280;
    int parts = 0;            // 0: as many as there are threads, for reductions in which the order does not matter
    bool keeps_chunk = false; // scores of all panels of a chunk stay until the rows end
};

template <typename T, typename P = T>
class BlockLoop {
public:
    // `ready`: scores (N, M) that are there already; x (N, 0) and y (M, 0) are then no more than their sizes.
    BlockLoop(const ProductKernels<T, P>& kernels, const Matrix& x, const Matrix& y, const Cut& cut,
              const Matrix& ready = nothing)
        : x_(x), y_(y), ready_(ready), kernels_(kernels),
          threads_(threads_for(double(x.rows) * double(y.rows) * double(x.width))),
          row_width_(round_up(x.width, kernels.depth_step) + kernels.row_gap),
          column_width_(round_up(x.width, kernels.depth_step)), keeps_chunk_(cut.keeps_chunk) {
        const auto bytes = static_cast<std::int64_t>(sizeof(P)) * std::max<std::int64_t>(row_width_, 1);
        const std::int64_t panel = kernels.panel_rows, columns = kernels.panel_columns;
        block_rows_ = std::max(std::min(cut.row_block_bytes / bytes, cut.most_rows) / panel, std::int64_t(1)) * panel;
        const std::int64_t chunk =
            std::clamp(y.rows * bytes / most_chunks, cut.column_chunk_bytes, largest_chunk_bytes);
        chunk_ = std::max(chunk / bytes / columns, std::int64_t(1)) * columns;
        chunk_ = std::min(chunk_, round_up(y.rows, columns));
        // Off a power of two, so that neighbouring rows do not fall on the same cache lines.
        stride_ = keeps_chunk_ ? chunk_ + columns : columns;
        const std::int64_t smallest =
            cut.parts == 0 ? panel : block_rows_; // smaller parts would read columns too often
        parts_ = static_cast<int>(
            std::min<std::int64_t>(cut.parts == 0 ? threads_ : cut.parts, round_up(x.rows, smallest) / smallest));
    }

    int parts() const { return parts_; }
    int threads() const { return threads_; }
    std::int64_t block_rows() const { return block_rows_; }
    std::int64_t padded_columns() const { return round_up(y_.rows, kernels_.panel_columns); }

    void run(BlockVisitor<T>& visitor) {
        const auto columns = aligned_memory<P>(chunk_ * column_width_);
        std::vector<Memory<P>> rows;
        std::vector<Memory<T>> scores;
        for (int slot = 0; slot < threads_; ++slot) {
            rows.push_back(aligned_memory<P>(block_rows_ * row_width_));
            scores.push_back(aligned_memory<T>(block_rows_ * stride_));
        }
        for (std::int64_t first = 0; first < y_.rows; first += chunk_) {
            pack_columns(first, columns.get());
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads_)
            for (int part = 0; part < parts_; ++part) {
                const int slot = this_thread();
                pass(part, slot, first, rows[slot].get(), columns.get(), scores[slot].get(), visitor);
            }
        }
    }

private:
    void pack_columns(std::int64_t first, P* out) const {
        const std::int64_t panel = kernels_.panel_columns;
        const std::int64_t count = std::min(chunk_, y_.rows - first);
#pragma omp parallel for num_threads(threads_)
        for (std::int64_t done = 0; done < count; done += panel) {
            kernels_.pack_columns(y_, first + done, std::min(panel, count - done), out + done * column_width_);
        }
    }

    void pass(int part, int slot, std::int64_t first_column, P* packed_rows, const P* packed_columns, T* scores,
              BlockVisitor<T>& visitor) const {
        const std::int64_t panel = kernels_.panel_columns;
        const std::int64_t last_row = x_.rows * (part + 1) / parts_;
        const std::int64_t end = std::min(first_column + chunk_, y_.rows);
        for (std::int64_t row = x_.rows * part / parts_; row < last_row; row += block_rows_) {
            const std::int64_t rows = std::min(block_rows_, last_row - row);
            kernels_.pack_rows(x_, row, rows, packed_rows);
            visitor.begin_rows(slot, row, rows);
            Block<T> block{scores, stride_, row, rows, first_column, panel};
            for (; block.first_column < end; block.first_column += panel) {
                const std::int64_t done = block.first_column - first_column;
                block.scores = keeps_chunk_ ? scores + done : scores;
                if (ready_.data != nullptr) {
                    read(block);
                } else {
                    kernels_.multiply(packed_rows, round_up(rows, kernels_.panel_rows) / kernels_.panel_rows,
                                      packed_columns + done * column_width_, x_.width, block.scores, stride_);
                }
                blank(block, y_.rows);
                visitor.visit(part, slot, block);
            }
            visitor.end_rows(part, slot,
                             {scores, stride_, row, rows, first_column, round_up(end - first_column, panel)});
        }
    }

    void read(const Block<T>& block) const {
        const std::int64_t columns = std::min(block.columns, y_.rows - block.first_column);
        const GradientKernels<T>& kernels = gradient_kernels<T>();
        for (std::int64_t row = 0; row < block.rows; ++row) {
            T* const to = block.scores + row * block.stride;
            std::fill_n(to, columns, T(0));
            kernels.add_row(ready_, block.first_row + row, block.first_column, columns, T(1), to);
        }
    }

    Matrix x_;
    Matrix y_;
    Matrix ready_;
    const ProductKernels<T, P>& kernels_;
    int threads_;
    std::int64_t row_width_;
    std::int64_t column_width_;
    bool keeps_chunk_;
    int parts_;
    std::int64_t block_rows_;
    std::int64_t chunk_;
    std::int64_t stride_;
};

} // namespace pcsr

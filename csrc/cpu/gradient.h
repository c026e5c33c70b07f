// Gradients of losses over S = x y^T: dx = G y and dy = G^T x, with G = dL/dS made from blocks of S and used at once.
#pragma once

#include "blocks.h"

namespace pcsr {

// Turns a block of scores into dL/dS in place. Blocks of different columns come from several threads at once; those of
// the same columns, and of the same rows, in rising order. Columns beyond the matrix hold -infinity and must become 0.
template <typename T>
struct ScoreGradient {
    virtual ~ScoreGradient() = default;
    virtual void turn(const Block<T>& block) = 0;
    // After all panels of some rows and columns, by one thread.
    virtual void finish(const Block<T>&) {}
};

// O(N + M) memory: scores are made anew, some rows and columns at a time, and every sum has one owner, so that results
// do not depend on the number of threads.
template <typename T>
class GradientLoop {
public:
    static constexpr std::int64_t most_rows = 280, most_columns = 1024;

    GradientLoop(const Matrix& x, const Matrix& y)
        : x_(x), y_(y), products_(product_kernels<T>()), gradients_(gradient_kernels<T>()),
          threads_(threads_for(double(x.rows) * double(y.rows) * double(x.width))),
          rows_(std::min(round_up(x.rows, products_.panel_rows),
                         most_rows / products_.panel_rows * products_.panel_rows)),
          columns_(std::min(round_up(y.rows, products_.panel_columns), most_columns)),
          stride_(columns_ + products_.panel_columns) {
        const std::int64_t width = round_up(x.width, products_.panel_columns);
        const std::int64_t tall = round_up(columns_, products_.panel_rows);
        scores_ = aligned_memory<T>(rows_ * stride_);
        packed_x_ = aligned_memory<T>(rows_ * width);
        packed_y_ = aligned_memory<T>(columns_ * x.width);
        across_y_ = aligned_memory<T>(columns_ * width);
        packed_scores_ = aligned_memory<T>(std::max(rows_ * columns_, rows_ * tall));
        product_ = aligned_memory<T>(threads_ * std::max(rows_, tall) * products_.panel_columns);
    }

    // dx (N, D) and dy (M, D), contiguous, hold the gradients afterwards.
    void run(ScoreGradient<T>& gradient, T* dx, T* dy) {
        std::fill_n(dx, x_.rows * x_.width, T(0));
        std::fill_n(dy, y_.rows * y_.width, T(0));
        for (std::int64_t column = 0; column < y_.rows; column += columns_) {
            const std::int64_t columns = std::min(columns_, y_.rows - column);
            const Matrix some_y = slice(y_, column, columns);
            pack(products_.pack_columns, some_y, columns, x_.width, packed_y_.get());
            pack(gradients_.pack_columns, some_y, x_.width, columns, across_y_.get());
            for (std::int64_t row = 0; row < x_.rows; row += rows_) {
                const std::int64_t rows = std::min(rows_, x_.rows - row);
                const Matrix some_x = slice(x_, row, rows);
                products_.pack_rows(some_x, 0, rows, packed_x_.get());
                score(gradient, row, rows, column, columns);
                gradient.finish({scores_.get(), stride_, row, rows, column, columns});
                const Matrix scores{scores_.get(), type, rows, columns, stride_};
                products_.pack_rows(scores, 0, rows, packed_scores_.get());
                accumulate(rows, columns, across_y_.get(), dx + row * x_.width);
                gradients_.pack_rows(scores, 0, columns, packed_scores_.get());
                pack(gradients_.pack_columns, some_x, x_.width, rows, packed_x_.get());
                accumulate(columns, rows, packed_x_.get(), dy + column * y_.width);
            }
        }
    }

private:
    static constexpr Type type = sizeof(T) == sizeof(float) ? Type::f32 : Type::f64;

    static Matrix slice(const Matrix& from, std::int64_t first, std::int64_t rows) {
        const std::int64_t size = from.type == Type::f64 ? 8 : from.type == Type::f32 ? 4 : 2;
        return {static_cast<const char*>(from.data) + first * from.stride * size, from.type, rows, from.width,
                from.stride};
    }

    // `count` rows (columns) of a matrix as panels of `depth`.
    template <typename Pack>
    void pack(Pack pack_panel, const Matrix& from, std::int64_t count, std::int64_t depth, T* out) const {
        const std::int64_t panel = products_.panel_columns;
#pragma omp parallel for num_threads(threads_)
        for (std::int64_t done = 0; done < count; done += panel) {
            pack_panel(from, done, std::min(panel, count - done), out + done * depth);
        }
    }

    void score(ScoreGradient<T>& gradient, std::int64_t row, std::int64_t rows, std::int64_t column,
               std::int64_t columns) {
        const std::int64_t panel = products_.panel_columns;
#pragma omp parallel for num_threads(threads_)
        for (std::int64_t done = 0; done < columns; done += panel) {
            const Block<T> block{scores_.get() + done, stride_, row, rows, column + done, panel};
            products_.multiply(packed_x_.get(), round_up(rows, products_.panel_rows) / products_.panel_rows,
                               packed_y_.get() + done * x_.width, x_.width, block.scores, stride_);
            blank(block, column + columns);
            gradient.turn(block);
        }
    }

    // to (count, D) += (packed scores) times packed columns.
    void accumulate(std::int64_t count, std::int64_t depth, const T* packed, T* to) {
        const std::int64_t panel = products_.panel_columns, width = x_.width;
        const std::int64_t padded = round_up(count, products_.panel_rows);
#pragma omp parallel for num_threads(threads_)
        for (std::int64_t done = 0; done < width; done += panel) {
            T* const product = product_.get() + this_thread() * padded * panel;
            products_.multiply(packed_scores_.get(), padded / products_.panel_rows, packed + done * depth, depth,
                               product, panel);
            gradients_.add({product, panel, 0, count, done, std::min(panel, width - done)}, to + done, width);
        }
    }

    Matrix x_, y_;
    const ProductKernels<T>& products_;
    const GradientKernels<T>& gradients_;
    int threads_;
    std::int64_t rows_, columns_, stride_;
    Memory<T> scores_, packed_x_, packed_y_, across_y_, packed_scores_, product_;
};

} // namespace pcsr

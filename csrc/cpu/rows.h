// Products of matrices that lie in memory as rows, for gradients: what a sum is made of has a fixed order, and one
// thread.
#pragma once

#include "attention_rows.h"
#include "blocks.h"

#include <vector>

namespace pcsr {

inline const RowKernels& row_kernels() {
    return PCSR_TABLE(attention_rows);
}

// Rows of floats, zeros at first; what is read beyond a row reaches no result.
class Plane {
public:
    Plane() = default;
    Plane(std::int64_t rows, std::int64_t width)
        : padded_(round_up(width, row_kernels().panel_columns)),
          stride_(padded_ + gap) { // off a power of two: neighbouring rows do not fall on the same cache lines
        const std::int64_t size = rows * stride_ + gap;
        data_ = aligned_memory<float>(size);
        std::fill_n(data_.get(), size, 0.0f);
    }

    // Whole panels of some rows.
    Rows rows(std::int64_t first, std::int64_t count) const {
        return {data_.get() + first * stride_, stride_, count, padded_};
    }
    float* row(std::int64_t n) const { return data_.get() + n * stride_; }

private:
    static constexpr std::int64_t gap = 16;
    std::int64_t padded_ = 0;
    std::int64_t stride_ = 0;
    Memory<float> data_;
};

inline Rows narrowed(Rows rows, std::int64_t width) {
    rows.width = width;
    return rows;
}

// A matrix as columns of products, in panels [depth][column]: rows become columns, or columns stay.
class Columns {
public:
    Columns() = default;
    Columns(std::int64_t depth, std::int64_t count) : depth_(depth), count_(count) {
        data_ = aligned_memory<float>(depth * round_up(count, row_kernels().panel_columns));
    }

    static Columns of_rows(const Matrix& from) {
        Columns packed(from.width, from.rows);
        packed.fill_from_rows(from);
        return packed;
    }
    static Columns of_columns(const Matrix& from) {
        Columns packed(from.rows, from.width);
        packed.fill_from_columns(from);
        return packed;
    }
    void fill_from_rows(const Matrix& from) { fill(product_kernels<float>().pack_columns, from); }
    void fill_from_columns(const Matrix& from) { fill(gradient_kernels<float>().pack_columns, from); }

    std::int64_t depth() const { return depth_; }
    std::int64_t count() const { return count_; }
    const float* panel(std::int64_t column) const { return data_.get() + column * depth_; }

private:
    template <typename Pack>
    void fill(Pack pack, const Matrix& from) {
        const std::int64_t panel = row_kernels().panel_columns;
        for (std::int64_t column = 0; column < count_; column += panel) {
            pack(from, column, std::min(panel, count_ - column), data_.get() + column * depth_);
        }
    }

    std::int64_t depth_ = 0;
    std::int64_t count_ = 0;
    Memory<float> data_;
};

// to = (+=) x times columns.
struct Times {
    Rows x;
    const Columns* columns;
    Rows to;
    bool adds = false;
};

// to = (+=) x^T y, whose first `rows` rows are wanted.
struct Across {
    Rows x;
    Rows y;
    Rows to;
    bool adds = false;
};

// A panel of columns of `product`, read from y or from where its rows lie `stride` apart.
inline void multiply_across(const Across& product, std::int64_t column, const float* y, std::int64_t stride) {
    const RowKernels& kernels = row_kernels();
    for (std::int64_t row = 0; row < product.to.count; row += kernels.panel_rows) {
        kernels.multiply({product.x.data + row, product.x.stride, y, stride, product.x.count,
                          product.to.row(row) + column, product.to.stride, product.to.count - row,
                          product.y.width - column, product.adds});
    }
}

// Of few rows.
inline void multiply_across(const Across& product) {
    for (std::int64_t column = 0; column < product.y.width; column += row_kernels().panel_columns) {
        multiply_across(product, column, product.y.data + column, product.y.stride);
    }
}

// to = (+=) x y of few rows, packed on the way.
inline void multiply_rows(const Rows& x, const Rows& y, const Rows& to, bool adds, float* packed) {
    const RowKernels& kernels = row_kernels();
    for (std::int64_t row = 0; row < x.count; row += kernels.panel_rows) {
        kernels.pack(x.part(row, std::min<std::int64_t>(kernels.panel_rows, x.count - row)), packed);
        for (std::int64_t column = 0; column < y.width; column += kernels.panel_columns) {
            kernels.multiply({packed, kernels.panel_rows, y.data + column, y.stride, x.width, to.row(row) + column,
                              to.stride, x.count - row, y.width - column, adds});
        }
    }
}

class RowProducts {
public:
    // For products of as many columns and rows as `deepest`.
    RowProducts(int threads, std::int64_t deepest) : threads_(threads) {
        const std::int64_t widest =
            std::max<std::int64_t>(task_panels * row_kernels().panel_rows, row_kernels().panel_columns);
        for (int slot = 0; slot < threads; ++slot) {
            packed_.push_back(aligned_memory<float>(widest * deepest + slack));
        }
    }

    int threads() const { return threads_; }

    void run(const std::vector<Times>& products) {
        struct Task {
            const Times* product;
            std::int64_t first;
        };
        std::vector<Task> tasks;
        const std::int64_t rows = task_panels * row_kernels().panel_rows;
        for (const Times& product : products) {
            for (std::int64_t first = 0; first < product.x.count; first += rows) {
                tasks.push_back({&product, first});
            }
        }
        const auto count = static_cast<std::int64_t>(tasks.size());
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads_)
        for (std::int64_t task = 0; task < count; ++task) {
            const Times& product = *tasks[task].product;
            multiply(product, tasks[task].first, std::min(rows, product.x.count - tasks[task].first),
                     packed_[this_thread()].get());
        }
    }

    void run(const std::vector<Across>& products) {
        const std::int64_t panel = row_kernels().panel_columns;
        struct Task {
            const Across* product;
            std::int64_t column;
        };
        std::vector<Task> tasks;
        for (const Across& product : products) {
            for (std::int64_t column = 0; column < product.y.width; column += panel) {
                tasks.push_back({&product, column});
            }
        }
        const auto count = static_cast<std::int64_t>(tasks.size());
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads_)
        for (std::int64_t task = 0; task < count; ++task) {
            multiply(*tasks[task].product, tasks[task].column, packed_[this_thread()].get());
        }
    }

private:
    static constexpr std::int64_t slack = 16;      // values a panel may be written beyond its end
    static constexpr std::int64_t task_panels = 8; // of rows for which a panel of columns is read once

    static void multiply(const Times& product, std::int64_t first, std::int64_t count, float* packed) {
        const RowKernels& kernels = row_kernels();
        const std::int64_t depth = product.columns->depth(), columns = product.columns->count();
        for (std::int64_t row = 0; row < count; row += kernels.panel_rows) {
            kernels.pack(
                narrowed(product.x.part(first + row, std::min<std::int64_t>(kernels.panel_rows, count - row)), depth),
                packed + row * depth);
        }
        for (std::int64_t column = 0; column < columns; column += kernels.panel_columns) {
            for (std::int64_t row = 0; row < count; row += kernels.panel_rows) {
                kernels.multiply({packed + row * depth, kernels.panel_rows, product.columns->panel(column),
                                  kernels.panel_columns, depth, product.to.row(first + row) + column, product.to.stride,
                                  count - row, columns - column, product.adds});
            }
        }
    }

    // Many rows far apart in memory cost more than a copy of the panel.
    static void multiply(const Across& product, std::int64_t column, float* packed) {
        constexpr std::int64_t many = 64;
        const std::int64_t panel = row_kernels().panel_columns;
        if (product.y.count < many) {
            return multiply_across(product, column, product.y.data + column, product.y.stride);
        }
        for (std::int64_t row = 0; row < product.y.count; ++row) {
            std::copy_n(product.y.row(row) + column, panel, packed + row * panel);
        }
        multiply_across(product, column, packed, panel);
    }

    int threads_;
    std::vector<Memory<float>> packed_;
};

// visit(first, rows) for all of `count`, some together, on any thread.
template <typename Visit>
void for_rows(int threads, std::int64_t count, Visit visit) {
    constexpr std::int64_t some = 16;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t first = 0; first < count; first += some) {
        visit(first, std::min(some, count - first));
    }
}

// One row of a sum: to[destination] += weight * from[row].
struct Addition {
    const float* from;
    float* to;
    float weight = 1;
};

// In the order given, columns shared out among threads.
inline void add_all(int threads, const std::vector<Addition>& additions, std::int64_t width) {
    constexpr std::int64_t some = 128;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t first = 0; first < width; first += some) {
        const std::int64_t count = std::min(some, width - first);
        for (const Addition& addition : additions) {
            gradient_kernels<float>().add_row({addition.from, Type::f32, 1, width, width}, 0, first, count,
                                              addition.weight, addition.to + first);
        }
    }
}

} // namespace pcsr

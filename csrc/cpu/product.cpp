#include "product.h"

#include "product_tile.h"

namespace pcsr::PCSR_ISA {
namespace {

constexpr int short_rows = PCSR_VECTOR_BYTES == 64 ? 12 : 6; // what 36 rows fill whole panels of
constexpr std::int64_t pack_depth = 64;

PCSR_INLINE float widen(std::uint16_t half) {
    const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}
PCSR_INLINE float widen(float value) {
    return value;
}
PCSR_INLINE double widen(double value) {
    return value;
}

// Squares of a vector's size change rows for columns in registers; what is left goes value by value.
template <typename T, typename S>
void pack_from(const S* data, const Matrix& from, std::int64_t first, std::int64_t count, int panel, T* out) {
    constexpr int step = lanes<T>;
    for (std::int64_t done = 0; done < count; done += panel, out += panel * from.width) {
        const std::int64_t rows = count - done < panel ? count - done : panel;
        const S* source = data + (first + done) * from.stride;
        const std::int64_t whole_rows = sizeof(S) == sizeof(T) ? rows / step * step : 0;
        const std::int64_t whole = whole_rows == 0 ? 0 : from.width / step * step;
        for (std::int64_t k = 0; k < whole; k += step) {
            for (std::int64_t row = 0; row < whole_rows; row += step) {
                Vec<T> values[step];
#pragma GCC unroll 16
                for (int n = 0; n < step; ++n) {
                    values[n] = load(reinterpret_cast<const T*>(source + (row + n) * from.stride + k));
                }
                transpose<T>(values);
#pragma GCC unroll 16
                for (int n = 0; n < step; ++n) {
                    store(out + (k + n) * panel + row, values[n]);
                }
            }
        }
        for (std::int64_t start = 0; start < from.width; start += pack_depth) {
            const std::int64_t end = start + pack_depth < from.width ? start + pack_depth : from.width;
            for (std::int64_t row = 0; row < panel; ++row) {
                for (std::int64_t k = row < whole_rows && start < whole ? whole : start; k < end; ++k) {
                    out[k * panel + row] = row < rows ? static_cast<T>(widen(source[row * from.stride + k])) : T(0);
                }
            }
        }
    }
}

template <typename T, typename S, int panel>
void pack_across_from(const Matrix& from, std::int64_t first, std::int64_t count, T* out) {
    for (std::int64_t done = 0; done < count; done += panel) {
        const std::int64_t columns = count - done < panel ? count - done : panel;
        const S* source = static_cast<const S*>(from.data) + first + done;
        for (std::int64_t row = 0; row < from.rows; ++row, out += panel, source += from.stride) {
            for (std::int64_t column = 0; column < panel; ++column) {
                out[column] = column < columns ? static_cast<T>(widen(source[column])) : T(0);
            }
        }
    }
}

template <typename T, int panel>
void pack_across(const Matrix& from, std::int64_t first, std::int64_t count, T* out) {
    switch (from.type) {
    case Type::f32:
        return pack_across_from<T, float, panel>(from, first, count, out);
    case Type::f64:
        return pack_across_from<T, double, panel>(from, first, count, out);
    case Type::bf16:
        return pack_across_from<T, std::uint16_t, panel>(from, first, count, out);
    }
}

template <typename T>
void add(const Block<T>& scores, T* to, std::int64_t stride) {
    for (std::int64_t row = 0; row < scores.rows; ++row) {
        for (std::int64_t column = 0; column < scores.columns; ++column) {
            to[row * stride + column] += scores.scores[row * scores.stride + column];
        }
    }
}

template <typename T, typename S>
void add_row_from(const S* from, std::int64_t count, T weight, T* to) {
    for (std::int64_t k = 0; k < count; ++k) {
        to[k] += weight * static_cast<T>(widen(from[k]));
    }
}

template <typename T>
void add_row(const Matrix& from, std::int64_t row, std::int64_t first, std::int64_t count, T weight, T* to) {
    const std::int64_t start = row * from.stride + first;
    switch (from.type) {
    case Type::f32:
        return add_row_from(static_cast<const float*>(from.data) + start, count, weight, to);
    case Type::f64:
        return add_row_from(static_cast<const double*>(from.data) + start, count, weight, to);
    case Type::bf16:
        return add_row_from(static_cast<const std::uint16_t*>(from.data) + start, count, weight, to);
    }
}

template <typename T, int panel>
void pack(const Matrix& from, std::int64_t first, std::int64_t count, T* out) {
    switch (from.type) {
    case Type::f32:
        return pack_from(static_cast<const float*>(from.data), from, first, count, panel, out);
    case Type::f64:
        return pack_from(static_cast<const double*>(from.data), from, first, count, panel, out);
    case Type::bf16:
        return pack_from(static_cast<const std::uint16_t*>(from.data), from, first, count, panel, out);
    }
}

template <typename T, int panel_rows>
PCSR_INLINE void multiply_tiles(const T* rows, std::int64_t row_panels, const T* columns, std::int64_t width, T* scores,
                                std::int64_t stride) {
    constexpr int step = lanes<T>;
    for (std::int64_t panel = 0; panel < row_panels; ++panel) {
        Vec<T> sums[panel_rows][tile_vectors] = {};
        add_products(rows + panel * panel_rows * width, panel_rows, columns, tile_vectors * step, width, sums);
        T* to = scores + panel * panel_rows * stride;
#pragma GCC unroll 14
        for (int row = 0; row < panel_rows; ++row) {
            store(to + row * stride, sums[row][0]);
            store(to + row * stride + step, sums[row][1]);
        }
    }
}

template <typename T>
void multiply(const T* rows, std::int64_t row_panels, const T* columns, std::int64_t width, T* scores,
              std::int64_t stride) {
    multiply_tiles<T, tile_rows>(rows, row_panels, columns, width, scores, stride);
}

void multiply_short(const float* rows, std::int64_t row_panels, const float* columns, std::int64_t width, float* scores,
                    std::int64_t stride) {
    multiply_tiles<float, short_rows>(rows, row_panels, columns, width, scores, stride);
}

// Values k.. of a row, zeros beyond the width.
template <typename T, typename S>
PCSR_INLINE Vec<T> wide_values(const S* row, std::int64_t k, std::int64_t width) {
    if (sizeof(S) == sizeof(T) && k + lanes<T> <= width) {
        return load(reinterpret_cast<const T*>(row + k));
    }
    T values[lanes<T>] = {};
    for (int lane = 0; lane < lanes<T> && k + lane < width; ++lane) {
        values[lane] = static_cast<T>(widen(row[k + lane]));
    }
    return load(values);
}

// A vector of pairs at once: one chain of sums alone would wait for itself.
template <typename T, typename S>
void dots_from(const Matrix& x, const std::int64_t* rows, const Matrix& y, const std::int64_t* columns,
               std::int64_t count, T* out) {
    constexpr int chains = lanes<T>;
    for (std::int64_t done = 0; done < count; done += chains) {
        const S *left[chains], *right[chains];
        for (int chain = 0; chain < chains; ++chain) {
            const std::int64_t pair = done + chain < count ? done + chain : count - 1;
            left[chain] = static_cast<const S*>(x.data) + rows[pair] * x.stride;
            right[chain] = static_cast<const S*>(y.data) + columns[pair] * y.stride;
        }
        Vec<T> sums{};
        for (std::int64_t k = 0; k < x.width; k += chains) {
            Vec<T> a[chains], b[chains];
#pragma GCC unroll 16
            for (int chain = 0; chain < chains; ++chain) {
                a[chain] = wide_values<T>(left[chain], k, x.width);
                b[chain] = wide_values<T>(right[chain], k, x.width);
            }
            transpose<T>(a);
            transpose<T>(b);
            if (k + chains <= x.width) {
#pragma GCC unroll 16
                for (int step = 0; step < chains; ++step) {
                    sums += a[step] * b[step];
                }
            }
            // Not one product more than in a block: adding 0 would lose the sign of a sum that is -0.
            for (int step = 0; k + chains > x.width && k + step < x.width; ++step) {
                sums += a[step] * b[step];
            }
        }
        for (int chain = 0; chain < chains && done + chain < count; ++chain) {
            out[done + chain] = sums[chain];
        }
    }
}

template <typename T>
void dots(const Matrix& x, const std::int64_t* rows, const Matrix& y, const std::int64_t* columns, std::int64_t count,
          T* out) {
    switch (x.type) {
    case Type::f32:
        return dots_from<T, float>(x, rows, y, columns, count, out);
    case Type::f64:
        return dots_from<T, double>(x, rows, y, columns, count, out);
    case Type::bf16:
        return dots_from<T, std::uint16_t>(x, rows, y, columns, count, out);
    }
}

template <typename T>
constexpr GradientKernels<T> gradients() {
    return {pack_across<T, tile_rows>, pack_across<T, tile_vectors * lanes<T>>, add<T>, add_row<T>};
}

template <typename T>
constexpr ProductKernels<T> table() {
    constexpr int panel_columns = tile_vectors * lanes<T>;
    return {tile_rows, panel_columns, 1, 0, pack<T, tile_rows>, pack<T, panel_columns>, multiply<T>};
}

} // namespace

extern constexpr ProductKernels<float> products_f32 = table<float>();
extern constexpr ProductKernels<float> short_products_f32 = {short_rows,
                                                             tile_vectors * lanes<float>,
                                                             1,
                                                             0,
                                                             pack<float, short_rows>,
                                                             pack<float, tile_vectors * lanes<float>>,
                                                             short_rows == tile_rows ? multiply<float>
                                                                                     : multiply_short};
extern constexpr ProductKernels<double> products_f64 = table<double>();
extern constexpr GradientKernels<float> gradients_f32 = gradients<float>();
extern constexpr GradientKernels<double> gradients_f64 = gradients<double>();
extern constexpr DotKernels<float> dots_f32 = {dots<float>};
extern constexpr DotKernels<double> dots_f64 = {dots<double>};

} // namespace pcsr::PCSR_ISA

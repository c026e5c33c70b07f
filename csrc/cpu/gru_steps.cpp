#include "gru_steps.h"

#include "gru.h"
#include "rows.h"

namespace pcsr {
namespace {

const GruKernels& gru_kernels() {
    return PCSR_TABLE(gru);
}

// Some captions, from row `first` of all on; `known` of them were there in the step before.
struct Step {
    std::int64_t first;
    std::int64_t rows;
    std::int64_t known;
};

std::vector<Step> steps_of(const GruDirection& direction, bool reverse) {
    std::vector<Step> steps;
    std::int64_t first = 0;
    for (std::int64_t n = 0; n < direction.steps; first += direction.counts[n++]) {
        steps.push_back({first, direction.counts[n], 0});
    }
    if (reverse) {
        std::reverse(steps.begin(), steps.end());
    }
    for (std::size_t n = 1; n < steps.size(); ++n) {
        steps[n].known = std::min(steps[n].rows, steps[n - 1].rows);
    }
    return steps;
}

// Rows of a step as the left side of products, in panels.
class Left {
public:
    Left(std::int64_t rows, std::int64_t depth)
        : depth_(depth), pitch_(row_kernels().panel_rows * depth + slack),
          data_(aligned_memory<float>(panels_of(rows) * pitch_)) {}

    void fill(int threads, const Plane& from, std::int64_t rows) {
        const RowKernels& kernels = row_kernels();
        const std::int64_t panels = panels_of(rows);
#pragma omp parallel for schedule(static) num_threads(threads)
        for (std::int64_t n = 0; n < panels; ++n) {
            const std::int64_t first = n * kernels.panel_rows;
            const std::int64_t count = std::min<std::int64_t>(kernels.panel_rows, rows - first);
            kernels.pack(narrowed(from.rows(first, count), depth_), data_.get() + n * pitch_);
        }
    }

    // to = (+=) the first `rows` rows times `count` columns of a panel.
    void multiply(std::int64_t rows, const float* columns, std::int64_t count, float* to, std::int64_t stride,
                  bool adds) const {
        const RowKernels& kernels = row_kernels();
        for (std::int64_t k = 0; k < depth_; k += near_depth) {
            for (std::int64_t n = 0; n < panels_of(rows); ++n) {
                const std::int64_t first = n * kernels.panel_rows;
                kernels.multiply({data_.get() + n * pitch_ + k * kernels.panel_rows, kernels.panel_rows,
                                  columns + k * kernels.panel_columns, kernels.panel_columns,
                                  std::min(near_depth, depth_ - k), to + first * stride, stride, rows - first, count,
                                  adds || k > 0});
            }
        }
    }

private:
    static constexpr std::int64_t slack = 16;       // values a panel may be written beyond its end
    static constexpr std::int64_t near_depth = 256; // what stays in the first-level cache while all rows pass

    static std::int64_t panels_of(std::int64_t rows) {
        return round_up(rows, row_kernels().panel_rows) / row_kernels().panel_rows;
    }

    std::int64_t depth_;
    std::int64_t pitch_;
    Memory<float> data_;
};

int threads_of(std::int64_t rows, std::int64_t size) {
    return threads_for(3.0 * double(rows) * double(size) * double(size));
}

// visit(part) of a step for panels of hidden units, on any thread.
template <typename Visit>
void for_units(int threads, std::int64_t rows, std::int64_t size, Visit visit) {
    const std::int64_t panel = row_kernels().panel_columns;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t first = 0; first < size; first += panel) {
        visit(GruPart{rows, size, first, std::min(panel, size - first)});
    }
}

} // namespace

void gru_forward(const GruDirection& direction, const float* bias, float* gates, float* before, float* hidden) {
    const std::int64_t size = direction.weight.width, panel = row_kernels().panel_columns;
    const std::vector<Step> steps = steps_of(direction, direction.reverse);
    const std::int64_t most = direction.counts[0], area = 3 * most * panel;
    Columns columns[3];
    for (int gate = 0; gate < 3; ++gate) {
        columns[gate] =
            Columns::of_rows({static_cast<const float*>(direction.weight.data) + gate * size * direction.weight.stride,
                              Type::f32, size, size, direction.weight.stride});
    }
    const Plane state(most, size);
    Left left(most, size);
    const auto products = aligned_memory<float>(threads_of(most, size) * area);
    for (const Step& step : steps) {
        const int threads = threads_of(step.known, size);
        left.fill(threads, state, step.known);
        for_units(threads, step.rows, size, [&](const GruPart& part) {
            float* const here = products.get() + this_thread() * area;
            for (int gate = 0; gate < 3; ++gate) {
                left.multiply(step.known, columns[gate].panel(part.first), part.columns,
                              here + gate * step.known * panel, panel, false);
            }
            gru_kernels().forward(part,
                                  {bias, gates + step.first * 4 * size, before + step.first * size,
                                   hidden + step.first * size, state.rows(0, step.rows), here, step.known});
        });
    }
}

void gru_backward(const GruDirection& direction, const Matrix& upstream, const float* gates, const float* before,
                  float* found) {
    const std::int64_t size = direction.weight.width, most = direction.counts[0];
    const Columns columns = Columns::of_columns(direction.weight);
    const Plane carried(most, size), of_parts(most, 3 * size);
    Left left(most, 3 * size);
    for (const Step& step : steps_of(direction, !direction.reverse)) {
        const int threads = threads_of(step.known, size);
        left.fill(threads, of_parts, step.known);
        for_units(threads, step.rows, size, [&](const GruPart& part) {
            const Rows here = carried.rows(0, step.rows);
            left.multiply(step.known, columns.panel(part.first), part.columns, here.data + part.first, here.stride,
                          true);
            gru_kernels().backward(
                part, {static_cast<const float*>(upstream.data) + step.first * upstream.stride, upstream.stride,
                       gates + step.first * 4 * size, before + step.first * size, found + step.first * 4 * size, here,
                       of_parts.rows(0, step.rows)});
        });
    }
}

} // namespace pcsr

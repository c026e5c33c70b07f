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

// Rows as the left side of products, in panels that are filled one by one.
class Left {
public:
    Left(std::int64_t rows, std::int64_t depth)
        : depth_(depth), pitch_(row_kernels().panel_rows * depth + slack),
          data_(aligned_memory<float>(round_up(rows, row_kernels().panel_rows) / row_kernels().panel_rows * pitch_)) {}

    void fill(std::int64_t panel, const Rows& from) {
        row_kernels().pack(narrowed(from, depth_), data_.get() + panel * pitch_);
    }

    // to = (+=) the first to.count rows times `count` columns of a panel.
    void multiply(const float* columns, std::int64_t count, const Rows& to, bool adds) const {
        const RowKernels& kernels = row_kernels();
        for (std::int64_t k = 0; k < depth_; k += near_depth) {
            for (std::int64_t row = 0, start = k * kernels.panel_rows; row < to.count;
                 row += kernels.panel_rows, start += pitch_) {
                kernels.multiply({data_.get() + start, kernels.panel_rows, columns + k * kernels.panel_columns,
                                  kernels.panel_columns, std::min(near_depth, depth_ - k), to.row(row), to.stride,
                                  to.count - row, count, adds || k > 0});
            }
        }
    }

private:
    static constexpr std::int64_t slack = 16;       // values a panel may be written beyond its end
    static constexpr std::int64_t near_depth = 256; // what stays in the first-level cache while all rows pass

    std::int64_t depth_;
    std::int64_t pitch_;
    Memory<float> data_;
};

// One step: to = (+=) what was left of the step before times the columns, then of panels of rows visit(first, count),
// which returns the rows that are left to the step after.
template <typename Visit>
void take(const Step& step, const Columns& columns, Left& left, const Plane& to, bool adds, Visit visit) {
    const std::int64_t panel_columns = row_kernels().panel_columns, panel_rows = row_kernels().panel_rows;
    const int threads = threads_for(double(step.rows) * double(columns.depth()) * double(columns.count()));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t first = 0; first < columns.count(); first += panel_columns) {
        Rows part = to.rows(0, step.known);
        part.data += first;
        left.multiply(columns.panel(first), columns.count() - first, part, adds);
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (std::int64_t first = 0; first < step.rows; first += panel_rows) {
        left.fill(first / panel_rows, visit(first, std::min(panel_rows, step.rows - first)));
    }
}

} // namespace

void gru_forward(const GruDirection& direction, const float* bias, float* gates, float* before, float* hidden) {
    const std::int64_t size = direction.weight.width, most = direction.counts[0];
    const Columns columns = Columns::of_rows(direction.weight);
    const Plane state(most, size), products(most, 3 * size);
    Left left(most, size);
    for (const Step& step : steps_of(direction, direction.reverse)) {
        take(step, columns, left, products, false, [&](std::int64_t first, std::int64_t count) {
            const std::int64_t row = step.first + first;
            const Rows here = state.rows(first, count);
            gru_kernels().forward({count, size, bias, gates + row * 4 * size, before + row * size, hidden + row * size,
                                   here, products.rows(first, count), step.known - first});
            return here;
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
        take(step, columns, left, carried, true, [&](std::int64_t first, std::int64_t count) {
            const std::int64_t row = step.first + first;
            const Rows parts = of_parts.rows(first, count);
            gru_kernels().backward({count, size, static_cast<const float*>(upstream.data) + row * upstream.stride,
                                    upstream.stride, gates + row * 4 * size, before + row * size,
                                    found + row * 4 * size, carried.rows(first, count), parts});
            return parts;
        });
    }
}

} // namespace pcsr

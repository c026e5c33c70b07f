#include "mixture_start.h"

#include "mixture_passes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

namespace pcsr {
namespace {

constexpr int most_lloyd_steps = 300;
constexpr std::int64_t most_bins = 1024;
constexpr std::int64_t values_a_bin = 64;
constexpr std::int64_t partition_size = 1 << 17;
constexpr std::int64_t block_size = 1024;

// Neighbouring values: how many, their range, and the sum of x - origin. `values` is null for copies of one value.
template <typename T>
struct Group {
    double count;
    double sum;
    double low;
    double high;
    T* values;
    bool sorted;
};

// What lies below a cut.
struct Below {
    double count;
    double sum;
    double largest;
};

bool nearer_to_high(double x, double low, double high) {
    return x - low > high - x;
}

template <typename T>
class Sorted {
public:
    Sorted(std::vector<Group<T>> groups, double origin) : groups_(std::move(groups)), origin_(origin) {
        before_.push_back({0, 0, -std::numeric_limits<double>::infinity()});
        for (const Group<T>& group : groups_) {
            before_.push_back({before_.back().count + group.count, before_.back().sum + group.sum, group.high});
        }
    }

    TwoMeans cut(Start start, double low, double high) {
        if (start == Start::kmeans) {
            return means_of(best());
        }
        if (start == Start::quantile) {
            const double last = all().count - 1;
            low = at(std::nearbyint(0.25 * last));
            high = at(std::nearbyint(0.75 * last));
            if (!(low < high)) {
                low = groups_.front().low;
                high = groups_.back().high;
            }
        }
        return lloyd(low, high);
    }

private:
    const Below& all() const { return before_.back(); }

    TwoMeans means_of(const Below& below) const {
        return {below.largest, origin_ + below.sum / below.count,
                origin_ + (all().sum - below.sum) / (all().count - below.count)};
    }

    // The values of a group that holds different ones, rising.
    const T* values_of(Group<T>& group) {
        if (!group.sorted) {
            std::sort(group.values, group.values + static_cast<std::int64_t>(group.count));
            group.sorted = true;
        }
        return group.values;
    }

    double at(double rank) {
        const auto next = std::upper_bound(before_.begin(), before_.end(), rank,
                                           [](double wanted, const Below& below) { return wanted < below.count; });
        const std::size_t place = static_cast<std::size_t>(next - before_.begin()) - 1;
        Group<T>& group = groups_[place];
        return group.low == group.high
                   ? group.low
                   : static_cast<double>(values_of(group)[static_cast<std::int64_t>(rank - before_[place].count)]);
    }

    Below nearer_to_low(double low, double high) {
        const auto reaching = std::partition_point(groups_.begin(), groups_.end(), [&](const Group<T>& group) {
            return !nearer_to_high(group.high, low, high);
        });
        Below below = before_[static_cast<std::size_t>(reaching - groups_.begin())];
        if (reaching != groups_.end() && !nearer_to_high(reaching->low, low, high)) {
            for (const T* value = values_of(*reaching); !nearer_to_high(*value, low, high); ++value) {
                below = {below.count + 1, below.sum + (static_cast<double>(*value) - origin_),
                         static_cast<double>(*value)};
            }
        }
        return below;
    }

    TwoMeans lloyd(double low, double high) {
        Below below = nearer_to_low(low, high);
        for (int done = 0; done < most_lloyd_steps; ++done) {
            const TwoMeans means = means_of(below);
            const Below following = nearer_to_low(means.low, means.high);
            if (following.count == below.count) {
                break;
            }
            below = following;
        }
        return means_of(below);
    }

    // n_0 n_1 (mu_1 - mu_0)^2, which the best cut makes largest.
    double between(double count, double sum) const {
        const double rest = all().count - count;
        const double distance = (all().sum - sum) / rest - sum / count;
        return count * rest * (distance * distance);
    }

    // No cut inside the group can be better: with sums about the mean, between = (n S)^2 / (n_0 n_1).
    double bound(std::size_t place) const {
        const Group<T>& group = groups_[place];
        const double n = all().count, mean = all().sum / n;
        const double before = before_[place].count, after = before_[place + 1].count;
        const double near = std::abs(before_[place].sum - before * mean);
        const double far = std::abs(before_[place + 1].sum - after * mean);
        const double rise = std::max(0.0, mean - (group.low - origin_)) * group.count;
        const double sum = group.high - origin_ <= mean ? far : std::max(near + rise, far);
        const double first = std::max(before, 1.0), last = std::min(after, n - 1);
        return n * n * (sum * sum) / std::min(first * (n - first), last * (n - last)) * (1 + 1e-9);
    }

    Below best() {
        Below found = before_[1];
        double most = -1;
        const auto offer = [&](const Below& below) {
            const double value = between(below.count, below.sum);
            if (value > most || (value == most && below.count < found.count)) {
                most = value;
                found = below;
            }
        };
        for (std::size_t place = 1; place < groups_.size(); ++place) {
            offer(before_[place]);
        }
        for (std::size_t place = 0; place < groups_.size(); ++place) {
            Group<T>& group = groups_[place];
            if (group.low == group.high || bound(place) < most) {
                continue;
            }
            const T* values = values_of(group);
            Below below = before_[place];
            for (std::int64_t i = 0; i + 1 < static_cast<std::int64_t>(group.count); ++i) {
                const double value = static_cast<double>(values[i]);
                below = {below.count + 1, below.sum + (value - origin_), value};
                if (values[i] < values[i + 1]) {
                    offer(below);
                }
            }
        }
        return found;
    }

    std::vector<Group<T>> groups_;
    std::vector<Below> before_; // each group, and at the end of all
    double origin_;
};

// A number near the values with few digits: differences to it are exact for values on a grid, and do not cancel.
double origin_of(const Summary& summary, std::int64_t count) {
    const double grid = std::exp2(std::ceil(std::log2(summary.high - summary.low)) + 2);
    return std::isfinite(grid) ? grid * std::nearbyint(summary.sum / static_cast<double>(count) / grid) : 0.0;
}

// Moves the values into their bins, in order; returns where each bin starts.
template <typename T>
std::vector<std::int64_t> partition(const T* values, std::int64_t count, const Summary& range, std::int64_t bins,
                                    T* out) {
    const double scale = static_cast<double>(bins) / (range.high - range.low);
    const std::int64_t parts = (count + partition_size - 1) / partition_size;
    std::vector<std::int64_t> next(static_cast<std::size_t>(parts * bins));
    const auto each = [&](const auto& visit) {
        for_parts(count, partition_size, [&](std::int64_t part, std::int64_t first, std::int64_t length) {
            std::int32_t places[block_size];
            std::int64_t* const own = next.data() + part * bins;
            for (std::int64_t done = 0; done < length; done += block_size) {
                const std::int64_t block = std::min(block_size, length - done);
                mixture_kernels<T>().bins(values + first + done, block, range.low, scale,
                                          static_cast<std::int32_t>(bins - 1), places);
                for (std::int64_t i = 0; i < block; ++i) {
                    visit(own[places[i]], values[first + done + i]);
                }
            }
        });
    };
    each([](std::int64_t& counter, T) { ++counter; });
    std::vector<std::int64_t> starts;
    std::int64_t start = 0;
    for (std::int64_t bin = 0; bin < bins; ++bin) {
        starts.push_back(start);
        for (std::int64_t part = 0; part < parts; ++part) {
            start += std::exchange(next[static_cast<std::size_t>(part * bins + bin)], start);
        }
    }
    starts.push_back(start);
    each([&](std::int64_t& place, T value) { out[place++] = value; });
    return starts;
}

} // namespace

template <typename T>
TwoMeans two_means(const T* values, std::int64_t count, Start start, double low, double high) {
    const Summary range = summarize(values, count, 0.0);
    const double origin = origin_of(range, count);
    const std::int64_t bins = std::clamp<std::int64_t>(count / values_a_bin, 1, most_bins);
    const std::unique_ptr<T[]> moved(new T[static_cast<std::size_t>(count)]);
    const std::vector<std::int64_t> starts = partition(values, count, range, bins, moved.get());
    std::vector<Group<T>> groups;
    for (std::int64_t bin = 0; bin < bins; ++bin) {
        T* const first = moved.get() + starts[bin];
        const std::int64_t length = starts[bin + 1] - starts[bin];
        if (length > 0) {
            Summary summary;
            mixture_kernels<T>().summarize(first, length, origin, &summary);
            groups.push_back({static_cast<double>(length), summary.sum, summary.low, summary.high, first, false});
        }
    }
    return Sorted<T>(std::move(groups), origin).cut(start, low, high);
}

TwoMeans two_means_of_bins(const double* values, const double* counts, std::int64_t bins, Start start, double low,
                           double high) {
    std::vector<Group<double>> groups;
    for (std::int64_t bin = 0; bin < bins; ++bin) {
        groups.push_back({counts[bin], counts[bin] * values[bin], values[bin], values[bin], nullptr, true});
    }
    return Sorted<double>(std::move(groups), 0.0).cut(start, low, high);
}

template TwoMeans two_means<float>(const float*, std::int64_t, Start, double, double);
template TwoMeans two_means<double>(const double*, std::int64_t, Start, double, double);

} // namespace pcsr

#include "mixture_start.h"

#include "mixture_passes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace pcsr {
namespace {

constexpr int most_lloyd_steps = 300;
constexpr std::int64_t most_bins = 1024;
constexpr std::int64_t values_a_bin = 64;
constexpr double slack = 0.01; // of a bin, more than rounding can move a value

// Neighbouring values: how many, the sum of x - origin, bounds of their range, and once loaded themselves, rising.
template <typename T>
struct Group {
    double count;
    double sum;
    double low;
    double high;
    std::vector<T> values;
    bool loaded;
};

// What lies below a cut.
struct Below {
    double count;
    double sum;
};

// The values that groups are loaded from; bins of equal width are the groups, empty ones left out.
template <typename T>
struct Source {
    const T* values;
    std::int64_t count;
    double low;
    double scale;
    std::vector<std::int32_t> group_of_bin;
};

bool nearer_to_high(double x, double low, double high) {
    return x - low > high - x;
}

template <typename T>
class Sorted {
public:
    Sorted(std::vector<Group<T>> groups, Source<T> source, double origin)
        : groups_(std::move(groups)), source_(std::move(source)), origin_(origin), touched_(groups_.size(), 0) {
        before_.push_back({0, 0});
        for (const Group<T>& group : groups_) {
            before_.push_back({before_.back().count + group.count, before_.back().sum + group.sum});
        }
    }

    TwoMeans cut(Start start, double low, double high) {
        const Below below = start == Start::kmeans ? best() : lloyd_from(start, low, high);
        TwoMeans means = means_of(below);
        means.cut = at(below.count - 1);
        return means;
    }

private:
    const Below& all() const { return before_.back(); }
    double mean_of(const Group<T>& group) const { return origin_ + group.sum / group.count; }

    TwoMeans means_of(const Below& below) const {
        return {0, origin_ + below.sum / below.count, origin_ + (all().sum - below.sum) / (all().count - below.count)};
    }

    // Loads the touched groups in one pass over all values.
    void load() {
        std::vector<char> wanted(source_.group_of_bin.size());
        for (std::size_t bin = 0; bin < wanted.size(); ++bin) {
            const std::int32_t place = source_.group_of_bin[bin];
            wanted[bin] = place >= 0 && touched_[place] != 0 && !groups_[place].loaded;
        }
        const auto found = values_in_bins(source_.values, source_.count, source_.low, source_.scale, wanted);
        for (const auto& part : found) {
            for (const auto& [bin, value] : part) {
                groups_[source_.group_of_bin[bin]].values.push_back(value);
            }
        }
        for (std::size_t place = 0; place < groups_.size(); ++place) {
            Group<T>& group = groups_[place];
            if (touched_[place] != 0 && !group.loaded) {
                std::sort(group.values.begin(), group.values.end());
                group.loaded = true;
            }
        }
    }

    void touch(std::size_t place) {
        const std::size_t first = place == 0 ? 0 : place - 1, last = std::min(place + 2, groups_.size());
        std::fill(touched_.begin() + first, touched_.begin() + last, 1);
    }

    const std::vector<T>& values_of(std::size_t place) {
        if (!groups_[place].loaded) {
            touch(place);
            load();
        }
        return groups_[place].values;
    }

    double at(double rank) {
        const auto next = std::upper_bound(before_.begin(), before_.end(), rank,
                                           [](double wanted, const Below& below) { return wanted < below.count; });
        const std::size_t place = static_cast<std::size_t>(next - before_.begin()) - 1;
        const Group<T>& group = groups_[place];
        if (group.low == group.high) {
            return group.low;
        }
        if (rough_) {
            touch(place);
            return mean_of(group);
        }
        return values_of(place)[static_cast<std::size_t>(rank - before_[place].count)];
    }

    Below nearer_to_low(double low, double high) {
        const auto reaching = std::partition_point(groups_.begin(), groups_.end(), [&](const Group<T>& group) {
            return !nearer_to_high(group.high, low, high);
        });
        std::size_t place = static_cast<std::size_t>(reaching - groups_.begin());
        Below below = before_[place];
        for (; place < groups_.size() && !nearer_to_high(groups_[place].low, low, high); ++place) {
            if (rough_) {
                touch(place);
                if (nearer_to_high(mean_of(groups_[place]), low, high)) {
                    break;
                }
            } else {
                for (const T value : values_of(place)) {
                    if (nearer_to_high(value, low, high)) {
                        return below;
                    }
                    below = {below.count + 1, below.sum + (static_cast<double>(value) - origin_)};
                }
            }
            below = before_[place + 1];
        }
        return below;
    }

    // Once with every group at its mean, to learn which groups matter; then by the values of those.
    Below lloyd_from(Start start, double low, double high) {
        rough_ = true;
        lloyd(start, low, high);
        rough_ = false;
        if (source_.values != nullptr) {
            load();
        }
        return lloyd(start, low, high);
    }

    Below lloyd(Start start, double low, double high) {
        if (start == Start::quantile) {
            const double last = all().count - 1;
            low = at(std::nearbyint(0.25 * last));
            high = at(std::nearbyint(0.75 * last));
            if (!(low < high)) {
                low = at(0);
                high = at(last);
            }
        }
        Below below = nearer_to_low(low, high);
        for (int done = 0; done < most_lloyd_steps && below.count > 0 && below.count < all().count; ++done) {
            const TwoMeans means = means_of(below);
            const Below following = nearer_to_low(means.low, means.high);
            if (following.count == below.count) {
                break;
            }
            below = following;
        }
        return below;
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
            touched_[place] = groups_[place].low < groups_[place].high && bound(place) >= most;
        }
        if (source_.values != nullptr) {
            load();
        }
        for (std::size_t place = 0; place < groups_.size(); ++place) {
            const std::vector<T>& values = groups_[place].values;
            Below below = before_[place];
            for (std::size_t i = 0; i + 1 < values.size(); ++i) {
                below = {below.count + 1, below.sum + (static_cast<double>(values[i]) - origin_)};
                if (values[i] < values[i + 1]) {
                    offer(below);
                }
            }
        }
        return found;
    }

    std::vector<Group<T>> groups_;
    Source<T> source_;
    std::vector<Below> before_; // each group, and at the end of all
    double origin_;
    std::vector<char> touched_; // groups whose values are needed
    bool rough_ = false;        // groups count as points at their means
};

// A number near the values with few digits: differences to it are exact for values on a grid, and do not cancel.
double origin_of(const Summary& summary, std::int64_t count) {
    const double grid = std::exp2(std::ceil(std::log2(summary.high - summary.low)) + 2);
    return std::isfinite(grid) ? grid * std::nearbyint(summary.sum / static_cast<double>(count) / grid) : 0.0;
}

} // namespace

template <typename T>
TwoMeans two_means(const T* values, std::int64_t count, Start start, double low, double high) {
    const Summary range = summarize(values, count, 0.0);
    const double origin = origin_of(range, count), span = range.high - range.low;
    const std::int64_t bins = std::isfinite(span) ? std::clamp<std::int64_t>(count / values_a_bin, 1, most_bins) : 1;
    std::vector<double> counts(static_cast<std::size_t>(bins)), sums(counts.size());
    histogram(values, count, range.low, range.high, origin, bins, counts.data(), sums.data());
    Source<T> source{values, count, range.low, static_cast<double>(bins) / span, {}};
    std::vector<Group<T>> groups;
    for (std::int64_t bin = 0; bin < bins; ++bin) {
        source.group_of_bin.push_back(counts[bin] > 0 ? static_cast<std::int32_t>(groups.size()) : -1);
        if (counts[bin] > 0) {
            const double width = span / static_cast<double>(bins), place = static_cast<double>(bin);
            groups.push_back({counts[bin],
                              sums[bin],
                              std::max(range.low, range.low + width * (place - slack)),
                              std::min(range.high, range.low + width * (place + 1 + slack)),
                              {},
                              false});
        }
    }
    return Sorted<T>(std::move(groups), std::move(source), origin).cut(start, low, high);
}

TwoMeans two_means_of_bins(const double* values, const double* counts, std::int64_t bins, Start start, double low,
                           double high) {
    std::vector<Group<double>> groups;
    for (std::int64_t bin = 0; bin < bins; ++bin) {
        groups.push_back({counts[bin], counts[bin] * values[bin], values[bin], values[bin], {}, true});
    }
    return Sorted<double>(std::move(groups), {}, 0.0).cut(start, low, high);
}

template TwoMeans two_means<float>(const float*, std::int64_t, Start, double, double);
template TwoMeans two_means<double>(const double*, std::int64_t, Start, double, double);

} // namespace pcsr

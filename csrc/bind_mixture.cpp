#include "arguments.h"
#include "bindings.h"
#include "cpu/mixture_passes.h"
#include "cpu/mixture_start.h"

namespace py = pybind11;

namespace {

using Values = std::tuple<Address, int, std::int64_t>; // address, type (float or double), count
// centre, first, second and offset of both components, lowest, highest, cut
using Parameters = std::array<double, 11>;

// Calls work(values, count) with values of their own type.
template <typename Work>
auto with_values(const Values& values, const Work& work) {
    const auto& [address, type, count] = values;
    return static_cast<pcsr::Type>(type) == pcsr::Type::f32 ? work(pointer<const float>(address), count)
                                                            : work(pointer<const double>(address), count);
}

pcsr::Components components(const Parameters& p) {
    return {{p[0], p[1]}, {p[2], p[3]}, {p[4], p[5]}, {p[6], p[7]}, p[8], p[9], p[10]};
}

std::tuple<std::int64_t, std::int64_t, double, double, double> summary(const Values& values) {
    return with_values(values, [](auto* data, std::int64_t count) {
        const pcsr::Summary found = pcsr::summarize(data, count, 0.0);
        const std::int64_t first = found.bad == 0 ? 0 : pcsr::first_bad(data, count);
        return std::make_tuple(found.bad, first, found.low, found.high, found.sum / static_cast<double>(count));
    });
}

// Of points with `counts`, which rise, or of the values themselves where that is 0.
std::tuple<double, double, double> two_means(const Values& values, Address counts, int start, double low, double high) {
    const auto kind = static_cast<pcsr::Start>(start);
    const pcsr::TwoMeans found = with_values(values, [&](auto* data, std::int64_t count) {
        return counts == 0 ? pcsr::two_means(data, count, kind, low, high)
                           : pcsr::two_means_of_bins(pointer<const double>(std::get<0>(values)),
                                                     pointer<const double>(counts), count, kind, low, high);
    });
    return {found.cut, found.low, found.high};
}

std::array<double, 7> sums(int model, const Values& values, Address weights, const Parameters& parameters) {
    const pcsr::MixtureSums s = with_values(values, [&](auto* data, std::int64_t count) {
        return pcsr::accumulate(static_cast<pcsr::MixtureModel>(model), data, pointer<const double>(weights), count,
                                components(parameters));
    });
    return {s.mass[0], s.mass[1], s.shift[0], s.shift[1], s.square[0], s.square[1], s.log_likelihood};
}

void posterior(int model, const Values& values, const Parameters& parameters, Address out) {
    with_values(values, [&](auto* data, std::int64_t count) {
        pcsr::posterior(static_cast<pcsr::MixtureModel>(model), data, count, components(parameters),
                        pointer<double>(out));
    });
}

void histogram(const Values& values, double low, double high, std::int64_t bins, Address counts, Address totals) {
    with_values(values, [&](auto* data, std::int64_t count) {
        pcsr::histogram(data, count, low, high, 0.0, bins, pointer<double>(counts), pointer<double>(totals));
    });
}

} // namespace

void bind_mixture(py::module_& m) {
    const auto free = py::call_guard<py::gil_scoped_release>();
    m.def("mixture_summary", &summary, free, "NaN or infinite values, the first of them, minimum, maximum and mean.");
    m.def("mixture_two_means", &two_means, free, "Largest value of the low one of two means, and both means.");
    m.def("mixture_sums", &sums, free, "Moments of both components and the log-likelihood, summed over the values.");
    m.def("mixture_posterior", &posterior, free, "Responsibility of the first component for every value.");
    m.def("mixture_histogram", &histogram, free, "Counts and sums of the values in equal bins of their range.");
}

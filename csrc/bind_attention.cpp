#include "arguments.h"
#include "bindings.h"
#include "cpu/attention_scores.h"

#include <string>

namespace py = pybind11;

namespace {

// Regions, words and lengths: (regions, regions of an image, words, longest caption, address of the lengths).
using Problem = std::tuple<MatrixArgument, std::int64_t, MatrixArgument, std::int64_t, Address>;

pcsr::CrossAttention problem(const Problem& argument) {
    const auto& [regions, each, words, longest, lengths] = argument;
    return {matrix(regions), each, matrix(words), longest, pointer<const std::int64_t>(lengths)};
}

pcsr::Precision precision_of(const std::string& name) {
    return name == "bf16"    ? pcsr::Precision::bf16
           : name == "exact" ? pcsr::Precision::exact
                             : pcsr::Precision::automatic;
}

void sgr(const Problem& argument, const std::array<MatrixArgument, 6>& weights, float output_bias,
         const std::string& precision, Address out) {
    const pcsr::Reasoning reasoning{matrix(weights[0]), matrix(weights[1]), matrix(weights[2]), matrix(weights[3]),
                                    matrix(weights[4]), matrix(weights[5]), output_bias};
    pcsr::sgr_scores(problem(argument), reasoning, precision_of(precision), pointer<float>(out));
}

void scan(const Problem& argument, float sharpness, const std::string& precision, Address out) {
    pcsr::scan_scores(problem(argument), sharpness, precision_of(precision), pointer<float>(out));
}

} // namespace

void bind_attention(py::module_& m) {
    const auto free = py::call_guard<py::gil_scoped_release>();
    m.def("sgr_f32", &sgr, free, "SGR similarities of float32 regions and words.");
    m.def("scan_f32", &scan, free, "SCAN similarities of float32 regions and words.");
}

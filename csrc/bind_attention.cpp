#include "arguments.h"
#include "bindings.h"
#include "cpu/attention_gradient.h"

namespace py = pybind11;

namespace {

// Regions, words and lengths: (regions, regions of an image, words, longest caption, address of the lengths).
using Problem = std::tuple<MatrixArgument, std::int64_t, MatrixArgument, std::int64_t, Address>;

pcsr::CrossAttention problem(const Problem& argument) {
    const auto& [regions, each, words, longest, lengths] = argument;
    return {matrix(regions), each, matrix(words), longest, pointer<const std::int64_t>(lengths)};
}

using Weights = std::tuple<std::array<MatrixArgument, 6>, float>;

pcsr::Reasoning reasoning(const Weights& argument) {
    const auto& [weights, output_bias] = argument;
    return {matrix(weights[0]), matrix(weights[1]), matrix(weights[2]), matrix(weights[3]),
            matrix(weights[4]), matrix(weights[5]), output_bias};
}

// Images and captions of pairs, their upstream gradient or 0, and how many there are.
using PairsArgument = std::tuple<Address, Address, Address, std::int64_t>;

pcsr::Pairs pairs(const PairsArgument& argument) {
    const auto& [images, captions, upstream, count] = argument;
    return {pointer<const std::int64_t>(images), pointer<const std::int64_t>(captions), pointer<const float>(upstream),
            count};
}

void sgr(const Problem& argument, const Weights& weights, const std::string& precision, Address out) {
    pcsr::sgr_scores(problem(argument), reasoning(weights), precision_of(precision), pointer<float>(out));
}

void sgr_pairs(const Problem& argument, const Weights& weights, const PairsArgument& some, Address out) {
    pcsr::sgr_pairs(problem(argument), reasoning(weights), pairs(some), pointer<float>(out));
}

void sgr_gradient(const Problem& argument, const Weights& weights, const PairsArgument& some,
                  const std::array<Address, 9>& out) {
    pcsr::sgr_gradient(problem(argument), reasoning(weights), pairs(some),
                       {pointer<float>(out[0]), pointer<float>(out[1]), pointer<float>(out[2]), pointer<float>(out[3]),
                        pointer<float>(out[4]), pointer<float>(out[5]), pointer<float>(out[6]), pointer<float>(out[7]),
                        pointer<float>(out[8])});
}

void scan(const Problem& argument, float sharpness, const std::string& precision, Address out) {
    pcsr::scan_scores(problem(argument), sharpness, precision_of(precision), pointer<float>(out));
}

void scan_pairs(const Problem& argument, float sharpness, const PairsArgument& some, Address out) {
    pcsr::scan_pairs(problem(argument), sharpness, pairs(some), pointer<float>(out));
}

void scan_gradient(const Problem& argument, float sharpness, const PairsArgument& some, Address regions,
                   Address words) {
    pcsr::scan_gradient(problem(argument), sharpness, pairs(some), pointer<float>(regions), pointer<float>(words));
}

} // namespace

void bind_attention(py::module_& m) {
    const auto free = py::call_guard<py::gil_scoped_release>();
    m.def("sgr_f32", &sgr, free, "SGR similarities of float32 regions and words.");
    m.def("sgr_pairs_f32", &sgr_pairs, free, "SGR similarities of some pairs.");
    m.def("sgr_gradient_f32", &sgr_gradient, free, "Gradients of SGR similarities of some pairs.");
    m.def("scan_f32", &scan, free, "SCAN similarities of float32 regions and words.");
    m.def("scan_pairs_f32", &scan_pairs, free, "SCAN similarities of some pairs.");
    m.def("scan_gradient_f32", &scan_gradient, free, "Gradients of SCAN similarities of some pairs.");
}

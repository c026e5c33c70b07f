#include "arguments.h"
#include "bindings.h"
#include "cpu/gru_steps.h"

namespace py = pybind11;

namespace {

// Captions of each step, whether the last comes first, and the weight of the state.
using Direction = std::tuple<std::vector<std::int64_t>, bool, MatrixArgument>;

pcsr::GruDirection direction_of(const Direction& argument) {
    const auto& [counts, reverse, weight] = argument;
    return {counts.data(), static_cast<std::int64_t>(counts.size()), reverse, matrix(weight)};
}

void forward(const Direction& direction, Address bias, Address gates, Address before, Address hidden) {
    pcsr::gru_forward(direction_of(direction), pointer<const float>(bias), pointer<float>(gates),
                      pointer<float>(before), pointer<float>(hidden));
}

void backward(const Direction& direction, const MatrixArgument& upstream, Address gates, Address before,
              Address found) {
    pcsr::gru_backward(direction_of(direction), matrix(upstream), pointer<const float>(gates),
                       pointer<const float>(before), pointer<float>(found));
}

} // namespace

void bind_gru(py::module_& m) {
    const auto free = py::call_guard<py::gil_scoped_release>();
    m.def("gru_forward_f32", &forward, free, "Hidden states of one direction of a GRU layer, in float32.");
    m.def("gru_backward_f32", &backward, free, "Gradients of its gates' parts.");
}

#include "arguments.h"
#include "bindings.h"
#include "cpu/contrastive_loss.h"

namespace py = pybind11;

namespace {

using Options = std::tuple<int, double, double, double>; // kind, temperature, q, margin

pcsr::Groups groups(Address ids) {
    return {pointer<const std::int64_t>(ids), pointer<const std::int64_t>(ids)};
}

pcsr::ContrastiveOptions settings(const Options& options) {
    const auto& [kind, temperature, q, margin] = options;
    return {static_cast<pcsr::Contrast>(kind), temperature, q, margin};
}

template <typename T>
void loss(const MatrixArgument& x, const MatrixArgument& y, Address ids, const Options& options, Address losses,
          Address statistics) {
    pcsr::contrastive_loss<T>(matrix(x), matrix(y), groups(ids), settings(options), pointer<T>(losses),
                              pointer<T>(statistics));
}

template <typename T>
void gradient(const MatrixArgument& x, const MatrixArgument& y, Address ids, const Options& options, Address upstream,
              Address statistics, Address dx, Address dy) {
    pcsr::contrastive_gradient<T>(matrix(x), matrix(y), groups(ids), settings(options), pointer<const T>(upstream),
                                  pointer<const T>(statistics), pointer<T>(dx), pointer<T>(dy));
}

} // namespace

void bind_contrastive(py::module_& m) {
    const auto free = py::call_guard<py::gil_scoped_release>();
    m.attr("contrastive_statistics") = pcsr::contrastive_statistics;
    m.def("contrastive_f32", &loss<float>, free, "Contrastive losses of float32 or bfloat16 embeddings.");
    m.def("contrastive_f64", &loss<double>, free, "Contrastive losses of float64 embeddings.");
    m.def("contrastive_gradient_f32", &gradient<float>, free, "Their gradients in float32 or bfloat16 embeddings.");
    m.def("contrastive_gradient_f64", &gradient<double>, free, "Their gradients in float64 embeddings.");
}

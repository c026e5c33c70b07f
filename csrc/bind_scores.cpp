#include "arguments.h"
#include "bindings.h"
#include "cpu/hinge_loss.h"
#include "cpu/ranks.h"
#include "cpu/search.h"

namespace py = pybind11;

namespace {

template <typename T>
pcsr::Hardest<T> found(const std::array<Address, 5>& out) {
    return {pointer<T>(out[0]), pointer<std::int64_t>(out[1]), pointer<T>(out[2]), pointer<std::int64_t>(out[3]),
            pointer<T>(out[4])};
}

template <typename T>
void hardest(const MatrixArgument& x, const MatrixArgument& y, const std::array<Address, 2>& ids, int shift,
             Address margins, std::int64_t margin_stride, const std::string& precision,
             const std::array<Address, 5>& out) {
    const pcsr::Groups groups{pointer<const std::int64_t>(ids[0]), pointer<const std::int64_t>(ids[1])};
    const pcsr::Margins<T> margin{static_cast<pcsr::Shift>(shift), pointer<const T>(margins), margin_stride};
    pcsr::find_hardest<T>(matrix(x), matrix(y), groups, margin, precision_of(precision), found<T>(out));
}

template <typename T>
void ranks(const MatrixArgument& x, const MatrixArgument& y, Address image_of_text, int ties,
           const std::string& precision, const std::array<Address, 2>& out) {
    pcsr::retrieval_ranks<T>(matrix(x), matrix(y), pointer<const std::int64_t>(image_of_text),
                             static_cast<pcsr::Ties>(ties), precision_of(precision), pointer<std::int64_t>(out[0]),
                             pointer<std::int64_t>(out[1]));
}

template <typename T>
void hardest_of_scores(const MatrixArgument& scores, const std::array<Address, 2>& ids, int shift, Address margins,
                       std::int64_t margin_stride, const std::array<Address, 5>& out) {
    const pcsr::Groups groups{pointer<const std::int64_t>(ids[0]), pointer<const std::int64_t>(ids[1])};
    const pcsr::Margins<T> margin{static_cast<pcsr::Shift>(shift), pointer<const T>(margins), margin_stride};
    pcsr::find_hardest_of_scores<T>(matrix(scores), groups, margin, found<T>(out));
}

template <typename T>
void hardest_gradient(const MatrixArgument& x, const MatrixArgument& y, const std::array<Address, 2>& upstream,
                      const std::array<Address, 2>& indices, const std::array<Address, 2>& out) {
    pcsr::hardest_gradient<T>(matrix(x), matrix(y), pointer<const T>(upstream[0]), pointer<const T>(upstream[1]),
                              pointer<const std::int64_t>(indices[0]), pointer<const std::int64_t>(indices[1]),
                              pointer<T>(out[0]), pointer<T>(out[1]));
}

// The problem as Python describes it. Margins: addresses of the shift, the row margins and the column margins.
using HingeTuple =
    std::tuple<std::array<MatrixArgument, 3>, Address, int, std::int64_t, std::array<Address, 3>, std::int64_t, double>;

template <typename T>
pcsr::HingeProblem<T> hinge_problem(const HingeTuple& tuple) {
    const auto& [x_y_ready, groups, shift, stride, margins, top, weight] = tuple;
    return {matrix(x_y_ready[0]),
            matrix(x_y_ready[1]),
            pointer<const std::int64_t>(groups),
            {static_cast<pcsr::Shift>(shift), pointer<const T>(margins[0]), stride},
            pointer<const T>(margins[1]),
            pointer<const T>(margins[2]),
            top,
            weight,
            matrix(x_y_ready[2])};
}

template <typename T>
void hinge(const HingeTuple& problem, const std::array<Address, 2>& out) {
    pcsr::hinge_loss<T>(hinge_problem<T>(problem), pointer<T>(out[0]), pointer<T>(out[1]));
}

template <typename T>
void hinge_gradient(const HingeTuple& problem, const std::array<Address, 2>& upstream,
                    const std::array<Address, 4>& out) {
    pcsr::hinge_gradient<T>(hinge_problem<T>(problem), pointer<const T>(upstream[0]), pointer<const T>(upstream[1]),
                            pointer<T>(out[0]), pointer<T>(out[1]), pointer<double>(out[2]), pointer<T>(out[3]));
}

template <typename T>
void hinge_score_gradient(const HingeTuple& problem, const std::array<Address, 2>& upstream,
                          const std::array<Address, 2>& out) {
    pcsr::hinge_score_gradient<T>(hinge_problem<T>(problem), pointer<const T>(upstream[0]),
                                  pointer<const T>(upstream[1]), pointer<T>(out[0]), pointer<double>(out[1]));
}

} // namespace

void bind_scores(py::module_& m) {
    const auto free = py::call_guard<py::gil_scoped_release>();
    m.def("hardest_f32", &hardest<float>, free, "Hardest negatives of float32 or bfloat16 embeddings.");
    m.def("hardest_f64", &hardest<double>, free, "Hardest negatives of float64 embeddings.");
    m.def("ranks_f32", &ranks<float>, free, "Retrieval ranks of float32 or bfloat16 embeddings.");
    m.def("ranks_f64", &ranks<double>, free, "Retrieval ranks of float64 embeddings.");
    m.def("hinge_f32", &hinge<float>, free, "Mean, sum or top-k hinge losses of float32 or bfloat16 embeddings.");
    m.def("hinge_f64", &hinge<double>, free, "Mean, sum or top-k hinge losses of float64 embeddings.");
    m.def("hinge_gradient_f32", &hinge_gradient<float>, free, "Their gradients.");
    m.def("hinge_gradient_f64", &hinge_gradient<double>, free, "Their gradients.");
    m.def("hardest_gradient_f32", &hardest_gradient<float>, free, "Gradients of the hardest-negative loss.");
    m.def("hardest_gradient_f64", &hardest_gradient<double>, free, "Gradients of the hardest-negative loss.");
    m.def("hardest_of_scores_f32", &hardest_of_scores<float>, free, "Hardest negatives of ready-made scores.");
    m.def("hardest_of_scores_f64", &hardest_of_scores<double>, free, "Hardest negatives of ready-made scores.");
    m.def("hinge_score_gradient_f32", &hinge_score_gradient<float>, free, "Gradients in ready-made scores.");
    m.def("hinge_score_gradient_f64", &hinge_score_gradient<double>, free, "Gradients in ready-made scores.");
}

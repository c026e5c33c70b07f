// The module pcsr_fast._native_cuda: the C interface of the CUDA kernels, with addresses as integers.
#include "cuda/interface.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <string>
#include <tuple>
#include <utility>

namespace py = pybind11;
using namespace pcsr::cuda;

namespace {

using Address = std::uintptr_t;
using QueueArgument = std::pair<int, Address>;
// Address, rows, width, stride, address of the rows' numbers or 0.
using MatrixArgument = std::tuple<Address, std::int64_t, std::int64_t, std::int64_t, Address>;

template <class T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

Queue queue_of(const QueueArgument& argument) {
    return {argument.first, pointer<void>(argument.second)};
}

Matrix matrix_of(const MatrixArgument& argument) {
    const auto& [data, rows, width, stride, rows_of] = argument;
    return {pointer<const void>(data), rows, width, stride, pointer<const std::int64_t>(rows_of)};
}

int hardest(const QueueArgument& queue, const MatrixArgument& x, const MatrixArgument& y, int arithmetic,
            const std::array<Address, 2>& groups, int shift, Address margins, std::int64_t margin_stride,
            const std::array<Address, 2>& keys, Address own, const std::array<Address, 4>& out) {
    const Queue where = queue_of(queue);
    const Matrix sides[2] = {matrix_of(x), matrix_of(y)};
    const HardestSearch search{pointer<const std::int64_t>(groups[0]),
                               pointer<const std::int64_t>(groups[1]),
                               pointer<const float>(margins),
                               margin_stride,
                               static_cast<Shift>(shift),
                               pointer<Key>(keys[0]),
                               pointer<Key>(keys[1]),
                               pointer<float>(own),
                               pointer<float>(out[0]),
                               pointer<std::int64_t>(out[1]),
                               pointer<float>(out[2]),
                               pointer<std::int64_t>(out[3])};
    return pcsr_cuda_hardest(&where, &sides[0], &sides[1], static_cast<Arithmetic>(arithmetic), &search);
}

int side_gradient(const QueueArgument& queue, const MatrixArgument& embeddings, int type,
                  const std::array<Address, 5>& plan, Address out) {
    const Queue where = queue_of(queue);
    const Matrix from = matrix_of(embeddings);
    const ScatterPlan scatter{pointer<const float>(plan[0]), pointer<const std::int32_t>(plan[1]),
                              pointer<const float>(plan[2]), pointer<const std::int32_t>(plan[3]),
                              pointer<const std::int64_t>(plan[4])};
    return pcsr_cuda_side_gradient(&where, &from, static_cast<Type>(type), &scatter, pointer<void>(out));
}

int hinge_sums(const QueueArgument& queue, const MatrixArgument& x, const MatrixArgument& y, int arithmetic,
               Address groups, const std::tuple<Address, std::int64_t, std::int64_t, int>& margins, double factor,
               const std::array<Address, 5>& work, const std::array<Address, 2>& out) {
    const auto& [address, margin_count, margin_step, shift] = margins;
    const Queue where = queue_of(queue);
    const Matrix sides[2] = {matrix_of(x), matrix_of(y)};
    const HingeProblem problem{pointer<const std::int64_t>(groups),
                               pointer<const float>(address),
                               margin_count,
                               margin_step,
                               static_cast<Shift>(shift),
                               factor,
                               pointer<unsigned>(work[0]),
                               pointer<double>(work[1]),
                               pointer<float>(work[2]),
                               pointer<unsigned long long>(work[3]),
                               pointer<unsigned long long>(work[4]),
                               pointer<float>(out[0]),
                               pointer<float>(out[1])};
    return pcsr_cuda_hinge_sums(&where, &sides[0], &sides[1], static_cast<Arithmetic>(arithmetic), &problem);
}

int ranks(const QueueArgument& queue, const MatrixArgument& x, const MatrixArgument& y, int arithmetic,
          Address image_of_text, int ties, const std::array<Address, 2>& work, const std::array<Address, 2>& out) {
    const Queue where = queue_of(queue);
    const Matrix sides[2] = {matrix_of(x), matrix_of(y)};
    const RankProblem problem{pointer<const std::int64_t>(image_of_text),
                              static_cast<Ties>(ties),
                              pointer<Key>(work[0]),
                              pointer<float>(work[1]),
                              pointer<unsigned long long>(out[0]),
                              pointer<unsigned long long>(out[1])};
    return pcsr_cuda_ranks(&where, &sides[0], &sides[1], static_cast<Arithmetic>(arithmetic), &problem);
}

// Address, count, whether float64.
using ValuesArgument = std::tuple<Address, std::int64_t, bool>;

Values values_of(const ValuesArgument& argument) {
    const auto& [data, count, wide] = argument;
    return {pointer<const void>(data), count, wide};
}

int mixture_pass(const QueueArgument& queue, const ValuesArgument& values, Address assigned, int stage, int kind,
                 double tol, double reg_covar, Address state, Address partials, std::int64_t parts) {
    const Queue where = queue_of(queue);
    const Values given = values_of(values);
    const MixtureStep step{static_cast<MixtureStage>(stage), static_cast<MixtureKind>(kind), tol, reg_covar};
    return pcsr_cuda_mixture_pass(&where, &given, pointer<const unsigned char>(assigned), &step,
                                  pointer<Mixture>(state), pointer<double>(partials), parts);
}

int mixture_posterior(const QueueArgument& queue, const ValuesArgument& values, int kind, Address state, double low,
                      double high, Address out) {
    const Queue where = queue_of(queue);
    const Values given = values_of(values);
    return pcsr_cuda_mixture_posterior(&where, &given, static_cast<MixtureKind>(kind), pointer<const Mixture>(state),
                                       low, high, pointer<double>(out));
}

int two_means(const QueueArgument& queue, Address sorted, Address sums, std::int64_t count, int steps,
              Address centres) {
    const Queue where = queue_of(queue);
    return pcsr_cuda_two_means(&where, pointer<const double>(sorted), pointer<const double>(sums), count, steps,
                               pointer<double>(centres));
}

std::pair<int, std::string> devices() {
    int count = 0;
    const int error = pcsr_cuda_devices(&count);
    return {count, error ? pcsr_cuda_message(error) : ""};
}

} // namespace

PYBIND11_MODULE(_native_cuda, m) {
    m.doc() =
        "CUDA kernels of pcsr_fast. Functions take (device, stream) first and return a CUDA error code, 0 for none.";
    m.attr("device_type") = pcsr_cuda_device_type();
    m.attr("architectures") = PCSR_CUDA_ARCHITECTURES;
    m.attr("compiler") = PCSR_CUDA_COMPILER;
    m.def("devices", &devices, "Number of devices that can be used, and CUDA's message where there is none.");
    m.def("message", &pcsr_cuda_message, "CUDA's text for an error code.");
    m.def("hardest", &hardest);
    m.def("side_gradient", &side_gradient);
    m.def("hinge_sums", &hinge_sums);
    m.def("ranks", &ranks);
    m.def("mixture_pass", &mixture_pass);
    m.def("mixture_posterior", &mixture_posterior);
    m.def("two_means", &two_means);
    m.attr("mixture_numbers") = sizeof(Mixture) / sizeof(double);
}

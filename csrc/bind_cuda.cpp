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

Queue queue_of(const QueueArgument& argument) { return {argument.first, pointer<void>(argument.second)}; }

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

std::pair<int, std::string> devices() {
    int count = 0;
    const int error = pcsr_cuda_devices(&count);
    return {count, error ? pcsr_cuda_message(error) : ""};
}

} // namespace

PYBIND11_MODULE(_native_cuda, m) {
    m.doc() = "CUDA kernels of pcsr_fast. Functions take (device, stream) first and return a CUDA error code, 0 for none.";
    m.attr("device_type") = pcsr_cuda_device_type();
    m.attr("architectures") = PCSR_CUDA_ARCHITECTURES;
    m.attr("compiler") = PCSR_CUDA_COMPILER;
    m.def("devices", &devices, "Number of devices that can be used, and CUDA's message where there is none.");
    m.def("message", &pcsr_cuda_message, "CUDA's text for an error code.");
    m.def("hardest", &hardest);
}

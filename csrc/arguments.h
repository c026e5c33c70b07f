// Arguments as Python passes them: addresses as integers, matrices as (address, type, rows, width, stride).
#pragma once

#include "cpu/search.h"
#include "cpu/types.h"

#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <string>
#include <tuple>

using Address = std::uintptr_t;
using MatrixArgument = std::tuple<Address, int, std::int64_t, std::int64_t, std::int64_t>;

template <typename T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

inline pcsr::Matrix matrix(const MatrixArgument& argument) {
    const auto& [data, type, rows, width, stride] = argument;
    return {pointer<const void>(data), static_cast<pcsr::Type>(type), rows, width, stride};
}

inline pcsr::Precision precision_of(const std::string& name) {
    return name == "bf16"       ? pcsr::Precision::bf16
           : name == "screened" ? pcsr::Precision::screened
           : name == "exact"    ? pcsr::Precision::exact
                                : pcsr::Precision::automatic;
}

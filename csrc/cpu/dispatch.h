// Which instruction set the CPU kernels use. Chosen once per process, at the first call.
#pragma once

#include <array>
#include <cstddef>

namespace pcsr {

// In rising order: a machine that supports one supports all before it.
enum class Isa : int { scalar = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3 };

constexpr std::size_t isa_count = 4;
constexpr std::array<const char*, isa_count> isa_names = {"scalar", "avx2", "avx512", "avx512_bf16"};
constexpr const char* isa_variable = "PCSR_FAST_ISA";

inline const char* name_of(Isa isa) {
    return isa_names[static_cast<std::size_t>(isa)];
}

// The best instruction set that this processor and this operating system support.
Isa detect_isa();

// The instruction set in use: detect_isa(), or what PCSR_FAST_ISA asks for.
// Throws std::invalid_argument when that is unknown or not supported by this machine.
Isa active_isa();

} // namespace pcsr

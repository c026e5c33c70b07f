// Which instruction set the CPU kernels use. Chosen once per process, at the first call.
#pragma once

namespace pcsr {

// In rising order: a machine that supports one supports all before it.
enum class Isa : int { scalar = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3, amx = 4 };

// Plain arrays: the files compiled for one instruction set include this, and use no STL.
constexpr const char* isa_names[] = {"scalar", "avx2", "avx512", "avx512_bf16", "amx"};
constexpr const char* isa_variable = "PCSR_FAST_ISA";

inline const char* name_of(Isa isa) {
    return isa_names[static_cast<int>(isa)];
}

// The best instruction set that this processor and this operating system support.
Isa detect_isa();

// The instruction set in use: detect_isa(), or what PCSR_FAST_ISA asks for.
// Throws std::invalid_argument when that is unknown or not supported by this machine.
Isa active_isa();

// The one of two tables that is for T, float or double.
template <typename T, typename Single, typename Double>
const auto& of_type(const Single& single, const Double& wide) {
    if constexpr (sizeof(T) == sizeof(float)) {
        return single;
    } else {
        return wide;
    }
}

} // namespace pcsr

// A kernel file is compiled once for every instruction set, each into its own namespace, and exports tables of
// functions.
#ifdef PCSR_X86
#    define PCSR_DECLARE_TABLE(type, name)                                                                             \
        namespace pcsr::scalar {                                                                                       \
        extern const type name;                                                                                        \
        }                                                                                                              \
        namespace pcsr::avx2 {                                                                                         \
        extern const type name;                                                                                        \
        }                                                                                                              \
        namespace pcsr::avx512 {                                                                                       \
        extern const type name;                                                                                        \
        }
#    define PCSR_TABLE(name)                                                                                           \
        (::pcsr::active_isa() >= ::pcsr::Isa::avx512                                                                   \
             ? ::pcsr::avx512::name                                                                                    \
             : (::pcsr::active_isa() == ::pcsr::Isa::avx2 ? ::pcsr::avx2::name : ::pcsr::scalar::name))
#else
#    define PCSR_DECLARE_TABLE(type, name)                                                                             \
        namespace pcsr::scalar {                                                                                       \
        extern const type name;                                                                                        \
        }
#    define PCSR_TABLE(name) (::pcsr::scalar::name)
#endif

#include "dispatch.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#ifdef PCSR_X86
#    include <cpuid.h>
#endif
#if defined(PCSR_X86) && defined(__linux__)
#    include <sys/syscall.h>
#    include <unistd.h>
#endif

namespace pcsr {
namespace {

// Linux saves tile registers only for processes that ask for them.
bool allowed_to_use_tiles() {
#if defined(PCSR_X86) && defined(__linux__)
    constexpr long request_permission = 0x1023; // ARCH_REQ_XCOMP_PERM
    constexpr long tile_data = 18;              // XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
    return false;
#endif
}

// CPUID leaf 7: AMX-BF16 and AMX-TILE. gcc 12 has no name for them in __builtin_cpu_supports.
bool has_tiles() {
#ifdef PCSR_X86
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & amx_bf16) && (edx & amx_tile) &&
           allowed_to_use_tiles();
#else
    return false;
#endif
}

std::string supported_names(Isa best) {
    std::string names;
    for (int level = 0; level <= static_cast<int>(best); ++level) {
        names += level == 0 ? "" : ", ";
        names += isa_names[level];
    }
    return names;
}

Isa choose_isa() {
    const Isa best = detect_isa();
    const char* wanted = std::getenv(isa_variable);
    if (wanted == nullptr || *wanted == '\0') {
        return best;
    }
    for (int level = 0; level <= static_cast<int>(best); ++level) {
        if (std::strcmp(wanted, isa_names[level]) == 0) {
            return static_cast<Isa>(level);
        }
    }
    throw std::invalid_argument(std::string(isa_variable) + "=" + wanted +
                                ": not supported by this machine; expected one of " + supported_names(best));
}

} // namespace

Isa detect_isa() {
#ifdef PCSR_X86
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    if (avx512 && __builtin_cpu_supports("avx512bf16")) {
        return has_tiles() ? Isa::amx : Isa::avx512_bf16;
    }
    if (avx512) {
        return Isa::avx512;
    }
    return avx2 ? Isa::avx2 : Isa::scalar;
#else
    return Isa::scalar;
#endif
}

Isa active_isa() {
    // A throw leaves the static unset, so a corrected variable is read by the next call.
    static const Isa isa = choose_isa();
    return isa;
}

} // namespace pcsr

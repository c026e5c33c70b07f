#include "dispatch.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace pcsr {
namespace {

std::string supported_names(Isa best) {
    std::string names;
    for (int level = 0; level <= static_cast<int>(best); ++level) {
        names += level == 0 ? "" : ", ";
        names += isa_names[static_cast<std::size_t>(level)];
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
        if (std::strcmp(wanted, isa_names[static_cast<std::size_t>(level)]) == 0) {
            return static_cast<Isa>(level);
        }
    }
    throw std::invalid_argument(std::string(isa_variable) + "=" + wanted +
                                ": not supported by this machine; expected one of " + supported_names(best));
}

} // namespace

Isa detect_isa() {
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512bf16")) {
        return Isa::avx512_bf16;
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

// The one pybind11 file: everything Python sees of the native core.
#include "bindings.h"
#include "cpu/dispatch.h"

#include <string>

#ifdef _OPENMP
#    include <omp.h>
#endif

namespace py = pybind11;

namespace {

py::list supported_isas() {
    py::list names;
    for (int level = 0; level <= static_cast<int>(pcsr::detect_isa()); ++level) {
        names.append(pcsr::name_of(static_cast<pcsr::Isa>(level)));
    }
    return names;
}

int threads() {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

py::dict build_info() {
    py::dict info;
    info["compiler"] = PCSR_COMPILER;
    info["build_type"] = PCSR_BUILD_TYPE;
    info["sanitizer"] = PCSR_SANITIZE_NAME;
#ifdef _OPENMP
    info["openmp"] = _OPENMP;
#else
    info["openmp"] = py::none();
#endif
    return info;
}

} // namespace

PYBIND11_MODULE(_native, m) {
    m.doc() = "Native core of pcsr_fast. Import torch first, so that both share one OpenMP runtime.";
    m.def(
        "isa", [] { return std::string(pcsr::name_of(pcsr::active_isa())); },
        "Instruction set in use; PCSR_FAST_ISA overrides the detected one. Raises ValueError if that is not "
        "supported.");
    m.def("supported_isas", &supported_isas, "Instruction sets that this machine supports, weakest first.");
    m.def("threads", &threads,
          "Threads a parallel region would use: torch's setting, as the OpenMP runtime is shared.");
    m.def("build_info", &build_info,
          "Compiler, build type, sanitizer and OpenMP version (yyyymm, or None) of this build.");
    bind_attention(m);
    bind_contrastive(m);
    bind_gru(m);
    bind_mixture(m);
    bind_scores(m);
}

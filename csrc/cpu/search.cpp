#include "search.h"

#include "full_search.h"
#ifdef PCSR_X86
#    include "bounds.h"
#    include "screened_search.h"
#endif

namespace pcsr {
namespace {

template <typename T>
bool find_faster(const Matrix&, const Matrix&, const Groups&, const Margins<T>&, Precision, const Hardest<T>&) {
    return false;
}

#ifdef PCSR_X86
// Whether the machine and the inputs allowed the precision asked for.
template <>
bool find_faster(const Matrix& x, const Matrix& y, const Groups& groups, const Margins<float>& margins,
                 Precision precision, const Hardest<float>& out) {
    const bool waits = precision == Precision::automatic && !worth_screening(x, y);
    if (precision == Precision::exact || waits || !has_half()) {
        return false;
    }
    if (precision == Precision::bf16) {
        FullSearch<float, std::uint16_t>(half_kernels(), x, y, groups, margins, out).run();
        return true;
    }
    return find_hardest_screened(half_kernels(), x, y, groups, margins, out);
}
#endif

} // namespace

template <typename T>
void find_hardest(const Matrix& x, const Matrix& y, const Groups& groups, const Margins<T>& margins,
                  Precision precision, const Hardest<T>& out) {
    if (!find_faster<T>(x, y, groups, margins, precision, out)) {
        FullSearch<T, T>(product_kernels<T>(), x, y, groups, margins, out).run();
    }
}

template <typename T>
void find_hardest_of_scores(const Matrix& scores, const Groups& groups, const Margins<T>& margins,
                            const Hardest<T>& out) {
    const Matrix x{nullptr, scores.type, scores.rows, 0, 0}, y{nullptr, scores.type, scores.width, 0, 0};
    FullSearch<T, T>(product_kernels<T>(), x, y, groups, margins, out, scores).run();
}

template void find_hardest_of_scores<float>(const Matrix&, const Groups&, const Margins<float>&, const Hardest<float>&);
template void find_hardest_of_scores<double>(const Matrix&, const Groups&, const Margins<double>&,
                                             const Hardest<double>&);
template void find_hardest<float>(const Matrix&, const Matrix&, const Groups&, const Margins<float>&, Precision,
                                  const Hardest<float>&);
template void find_hardest<double>(const Matrix&, const Matrix&, const Groups&, const Margins<double>&, Precision,
                                   const Hardest<double>&);

} // namespace pcsr

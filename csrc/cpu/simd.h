// Vectors of the instruction set this file is compiled for, by the compiler's own vector types: one source, several
// builds. CMake defines PCSR_ISA (a namespace) and PCSR_VECTOR_BYTES, and gives the -m flags. Files that include this
// use no STL and no torch: an inline function merged across builds could carry instructions a machine does not have.
#pragma once

#include "types.h"

#define PCSR_INLINE inline __attribute__((always_inline))

namespace pcsr::PCSR_ISA {

template <typename T>
struct VectorOf {
    typedef T type __attribute__((vector_size(PCSR_VECTOR_BYTES)));
    typedef T unaligned __attribute__((vector_size(PCSR_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
};

template <typename T>
using Vec = typename VectorOf<T>::type;

template <typename T>
constexpr int lanes = PCSR_VECTOR_BYTES / static_cast<int>(sizeof(T));

template <typename T>
PCSR_INLINE Vec<T> load(const T* from) {
    return *reinterpret_cast<const typename VectorOf<T>::unaligned*>(from);
}

template <typename T>
PCSR_INLINE void store(T* to, Vec<T> value) {
    *reinterpret_cast<typename VectorOf<T>::unaligned*>(to) = value;
}

template <typename T>
PCSR_INLINE Vec<T> broadcast(T value) {
    return value - Vec<T>{}; // a sum would turn -0 into 0, so that the compiler keeps it
}

// 0, 1, 2, ... in each lane.
template <typename T>
PCSR_INLINE Vec<T> iota() {
    Vec<T> value{};
    for (int lane = 0; lane < lanes<T>; ++lane) {
        value[lane] = static_cast<T>(lane);
    }
    return value;
}

template <typename T>
PCSR_INLINE Vec<T> larger(Vec<T> a, Vec<T> b) {
    return a > b ? a : b;
}

// Whether any lane of a comparison holds.
template <typename T>
PCSR_INLINE bool any(Vec<Index<T>> mask) {
    typedef long long Words __attribute__((vector_size(PCSR_VECTOR_BYTES)));
    const Words words = reinterpret_cast<Words>(mask);
    long long all = 0;
    for (int word = 0; word < PCSR_VECTOR_BYTES / 8; ++word) {
        all |= words[word];
    }
    return all != 0;
}

} // namespace pcsr::PCSR_ISA

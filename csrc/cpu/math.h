// exp, log, sigmoid and tanh of whole vectors. Errors against the exact value: below 1e-15 (double) and 3e-7 (float),
// relative.
#pragma once

#include "simd.h"

namespace pcsr::PCSR_ISA {

// How a float is laid out, and exp's polynomial: exp(r) = 1 + r + r^2 p(r) for |r| <= ln(2) / 2, interpolated at the
// Chebyshev nodes. ln(2) is split so that n * ln2_high is exact.
template <typename T>
struct Exponential;

template <>
struct Exponential<double> {
    using Bits = std::uint64_t;
    static constexpr int mantissa = 52;
    static constexpr double round = 0x1.8p52;
    static constexpr double lowest = -708.3964185322641;
    static constexpr double highest = 709.782712893384;
    static constexpr double ln2_high = 0x1.62e42feep-1;
    static constexpr double ln2_low = 1.9082149292705877e-10;
    static constexpr double terms[] = {2.09147553258932e-09,
                                       2.5105312729622103e-08,
                                       2.755727347871858e-07,
                                       2.755725517000089e-06,
                                       2.480158732567746e-05,
                                       0.0001984126987500228,
                                       0.0013888888888883711,
                                       0.008333333333326084,
                                       0.04166666666666667,
                                       0.1666666666666667,
                                       0.5};
};

template <>
struct Exponential<float> {
    using Bits = std::uint32_t;
    static constexpr int mantissa = 23;
    static constexpr float round = 0x1.8p23f;
    static constexpr float lowest = -87.33654f;
    static constexpr float highest = 88.72283f;
    static constexpr float ln2_high = 0.693145751953125f;
    static constexpr float ln2_low = 1.4286068203094173e-06f;
    static constexpr float terms[] = {0.0013926250831497611f, 0.008363232883682618f, 0.04166655421298415f,
                                      0.16666576666119928f, 0.5f};
};

// exp of numbers in [lowest, highest]; any number outside or for NaN.
template <typename T>
PCSR_INLINE Vec<T> exp_inside(Vec<T> x) {
    using E = Exponential<T>;
    using Bits = Vec<typename E::Bits>;
    const Vec<T> shifted = x * T(1.4426950408889634) + E::round;
    const Vec<T> n = shifted - E::round;
    const Vec<T> r = (x - n * E::ln2_high) - n * E::ln2_low;
    Vec<T> p = broadcast(E::terms[0]);
#pragma GCC unroll 16
    for (unsigned term = 1; term < sizeof E::terms / sizeof(T); ++term) {
        p = p * r + E::terms[term];
    }
    p = p * (r * r) + r + T(1);
    return (Vec<T>)((Bits)p + ((Bits)shifted << E::mantissa));
}

// 0 where the result would be subnormal, infinity where it overflows, NaN for NaN.
template <typename T>
PCSR_INLINE Vec<T> exp(Vec<T> x) {
    using E = Exponential<T>;
    return x < E::lowest ? Vec<T>{} : x > E::highest ? broadcast(T(__builtin_inf())) : x != x ? x : exp_inside<T>(x);
}

// Natural logarithm of positive normal numbers: x = 2^k m, m in [sqrt(1/2), sqrt(2)), log m = 2 artanh((m-1)/(m+1)).
PCSR_INLINE Vec<double> log(Vec<double> x) {
    using E = Exponential<double>;
    using Bits = Vec<std::uint64_t>;
    constexpr std::uint64_t root_half = 0x3fe6a09e667f3bcd;
    constexpr double terms[] = {0.13088034850927555, 0.13268638369266825, 0.15386244737621665, 0.18181795547521137,
                                0.22222222392581045, 0.28571428570799784, 0.40000000000000885, 0.6666666666666666};
    const Bits above = (Bits)x - root_half;
    const Vec<std::int64_t> k = (Vec<std::int64_t>)above >> 52;
    const Vec<double> m = (Vec<double>)((above & ((std::uint64_t(1) << 52) - 1)) + root_half);
    const Vec<double> f = m - 1.0;
    const Vec<double> s = f / (f + 2.0);
    const Vec<double> square = s * s;
    Vec<double> p = broadcast(terms[0]);
#pragma GCC unroll 16
    for (unsigned term = 1; term < sizeof terms / sizeof(double); ++term) {
        p = p * square + terms[term];
    }
    const Vec<double> exponent = __builtin_convertvector(k, Vec<double>);
    // f - s (f - s^2 p) equals 2 s + s^3 p and keeps the digits of f.
    return exponent * E::ln2_high + (f - (s * (f - square * p) - exponent * E::ln2_low));
}

PCSR_INLINE Vec<float> sigmoid(Vec<float> x) {
    return 1 / (1 + exp<float>(-x));
}

// Near 0 by x + x^3 p(x^2), interpolated at the Chebyshev nodes: 1 - 2 / (exp(2 x) + 1) would lose the digits of x.
PCSR_INLINE Vec<float> tanh(Vec<float> x) {
    constexpr float near = 0.5f;
    constexpr float terms[] = {0.017988745f, -0.05338711f, 0.13330476f, -0.3333331f};
    const Vec<float> size = x < 0 ? -x : x, square = x * x;
    Vec<float> p = broadcast(terms[0]);
#pragma GCC unroll 4
    for (int term = 1; term < 4; ++term) {
        p = p * square + terms[term];
    }
    const Vec<float> far = 1 - 2 / (exp<float>(2 * size) + 1);
    return size < near ? x + x * square * p : x < 0 ? -far : far;
}

} // namespace pcsr::PCSR_ISA

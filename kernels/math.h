// Elementary functions in double, shared by both devices. Inlined and branch-free, so that host loops
// vectorize and device code has no slow path. Relative errors are a few units in the last place
// (tests/kernels).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/base.h"

namespace glow {

inline constexpr double kLn2 = 0x1.62e42fefa39efp-1;  // ln 2
inline constexpr double kLog2E = 1.4426950408889634;  // 1 / ln 2: nats to bits

GLOW_HD inline double sqrt_of(double x) {
    return ::sqrt(x);
}
GLOW_HD inline double log_of(double x) {
    return ::log(x);
}

// a b + sum, rounded once if the processor has fused multiply-add. Compilers usually fuse by themselves, but
// g++ does not in some unrolled loops and in sanitized builds. Kernels that must give the same bits therefore
// call this function.
template <class T>
GLOW_HD inline T multiply_add(T a, T b, T sum) {
#if (defined(__FMA__) || defined(__ARM_FEATURE_FMA)) && !defined(__CUDA_ARCH__)
    return std::fma(a, b, sum);
#else
    return a * b + sum;
#endif
}

// 2^k for -1022 <= k <= 1023.
GLOW_HD inline double power_of_two(std::int64_t k) {
    const std::int64_t bits = (k + 1023) << 52;
    double result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

// exp(x): x = k ln 2 + r with |r| <= ln(2)/2, Taylor polynomial of degree 13 in r (remainder 4e-18), then 2^k
// as two factors, so that overflow gives inf and underflow denormals. NaN stays NaN.
GLOW_HD inline double exp_of(double x) {
    x = x > 1000.0 ? 1000.0 : x;
    x = x < -1000.0 ? -1000.0 : x;
    const double kRound = 0x1.8p52;  // adding and subtracting it rounds to nearest
    const double shifted = x * kLog2E + kRound;
    const double k = shifted - kRound;
    const double r = (x - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    std::int64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    std::int64_t ki =
        static_cast<std::int64_t>(static_cast<std::uint64_t>(bits) << 12) >> 12;  // low 52 bits, signed
    ki = ki - (std::int64_t{1} << 51);
    const std::int64_t half = ki >> 1;
    return p * power_of_two(half) * power_of_two(ki - half);
}

// log(1 + e) for 0 <= e <= 1: 2 atanh(s), s = e / (2 + e) <= 1/3, by its series up to s^37 (relative
// remainder 1e-19).
GLOW_HD inline double log1p_unit(double e) {
    const double s = e / (2.0 + e);
    const double q = s * s;
    double p = 1.0 / 37.0;
    p = p * q + 1.0 / 35.0;
    p = p * q + 1.0 / 33.0;
    p = p * q + 1.0 / 31.0;
    p = p * q + 1.0 / 29.0;
    p = p * q + 1.0 / 27.0;
    p = p * q + 1.0 / 25.0;
    p = p * q + 1.0 / 23.0;
    p = p * q + 1.0 / 21.0;
    p = p * q + 1.0 / 19.0;
    p = p * q + 1.0 / 17.0;
    p = p * q + 1.0 / 15.0;
    p = p * q + 1.0 / 13.0;
    p = p * q + 1.0 / 11.0;
    p = p * q + 1.0 / 9.0;
    p = p * q + 1.0 / 7.0;
    p = p * q + 1.0 / 5.0;
    p = p * q + 1.0 / 3.0;
    p = p * q + 1.0;
    return 2.0 * s * p;
}

// Taylor polynomials of cos and sin, for |a| <= pi/4.
GLOW_HD inline double quarter_cos(double a) {
    const double q = a * a;
    double p = 1.0 / 20922789888000.0;
    p = p * q - 1.0 / 87178291200.0;
    p = p * q + 1.0 / 479001600.0;
    p = p * q - 1.0 / 3628800.0;
    p = p * q + 1.0 / 40320.0;
    p = p * q - 1.0 / 720.0;
    p = p * q + 1.0 / 24.0;
    p = p * q - 0.5;
    return p * q + 1.0;
}
GLOW_HD inline double quarter_sin(double a) {
    const double q = a * a;
    double p = 1.0 / 355687428096000.0;
    p = p * q - 1.0 / 1307674368000.0;
    p = p * q + 1.0 / 6227020800.0;
    p = p * q - 1.0 / 39916800.0;
    p = p * q + 1.0 / 362880.0;
    p = p * q - 1.0 / 5040.0;
    p = p * q + 1.0 / 120.0;
    p = p * q - 1.0 / 6.0;
    return (p * q + 1.0) * a;
}
// cos(2 pi t) and sin(2 pi t) for 0 <= t <= 1, reduced to |angle| <= pi/4 by symmetry.
GLOW_HD inline double cos_2pi(double t) {
    const int quarter = static_cast<int>(4.0 * t + 0.5);  // nearest quarter turn, 0..4
    const double angle = (4.0 * t - quarter) * 1.5707963267948966;
    const double c = (quarter & 1) ? -quarter_sin(angle) : quarter_cos(angle);
    return (quarter & 2) ? -c : c;
}
GLOW_HD inline double sin_2pi(double t) {
    const int quarter = static_cast<int>(4.0 * t + 0.5);
    const double angle = (4.0 * t - quarter) * 1.5707963267948966;
    const double s = (quarter & 1) ? quarter_cos(angle) : quarter_sin(angle);
    return (quarter & 2) ? -s : s;
}

// Infinity for NaN and values above 1e300, so that a reduction by maximum cannot lose them.
GLOW_HD inline double inf_if_not_finite(double x) {
    return x <= 1e300 ? x : HUGE_VAL;
}

// Scales are exp(3 logs), of actnorm and of zero-initialized layers (the published code's logscale_factor).
inline constexpr double kLogsFactor = 3.0;
GLOW_HD inline double log_scale_of(double logs) {
    return kLogsFactor * logs;
}
GLOW_HD inline double scale_of(double logs) {
    return exp_of(log_scale_of(logs));
}
GLOW_HD inline double inverse_scale_of(double logs) {
    return exp_of(-kLogsFactor * logs);
}

// sigmoid(t) and its logarithm -softplus(-t), both in double from one exponential.
struct Scale {
    double value, log;
};
GLOW_HD inline Scale sigmoid_scale(double t) {
    const double e = exp_of(t < 0.0 ? t : -t);
    const double numerator = t < 0.0 ? e : 1.0;
    return {numerator / (1.0 + e), (t < 0.0 ? t : 0.0) - log1p_unit(e)};
}

// x if `keep`, otherwise +0, branch-free. Compilers turn a conditional stored value into a conditional store,
// which blocks vectorization on the host and mispredicts on random masks.
GLOW_HD inline float select_or_zero(bool keep, float x) {
    std::uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0u - static_cast<std::uint32_t>(keep);
    memcpy(&x, &bits, sizeof bits);
    return x;
}
GLOW_HD inline double select_or_zero(bool keep, double x) {
    std::uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= std::uint64_t{0} - static_cast<std::uint64_t>(keep);
    memcpy(&x, &bits, sizeof bits);
    return x;
}
GLOW_HD inline bfloat16 select_or_zero(bool keep, bfloat16 x) {
    x.bits = static_cast<std::uint16_t>(x.bits & (0u - static_cast<unsigned>(keep)));
    return x;
}

GLOW_HD inline float widen(bfloat16 x) {
    const std::uint32_t bits = std::uint32_t{x.bits} << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}
GLOW_HD inline float widen(float x) {
    return x;
}
GLOW_HD inline double widen(double x) {
    return x;
}

// Conversion to the networks' storage type, round to nearest even.
template <class T>
GLOW_HD inline T round_to(double x) {
    return static_cast<T>(x);
}
template <>
GLOW_HD inline bfloat16 round_to<bfloat16>(double x) {
    const float value = static_cast<float>(x);
    std::uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((bits >> 16) | 0x40u)};
    return {static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

// dL/dx of y = max(x, 0) from dL/dy, using the sign of y; relu'(0) = 0.
template <class Map>
GLOW_HD inline Map relu_gradient(Map y, Map dy) {
    return select_or_zero(widen(y) > 0, dy);
}

// The rounded state that a network or gradient reads: x rounded to T, but never finer than multiples of
// 2^-30. Near 0 a float's grid is so fine that a reconstructed state (off by 1e-14) can be many steps away;
// on this grid it is always within half a step (kernels/saved_state.h).
template <class T>
GLOW_HD inline T round_state(double x) {
    const double kRound = 0x1.8p22;  // adding and subtracting it rounds to a multiple of 2^-30
    const double coarse = (x + kRound) - kRound;
    return round_to<T>(::fabs(x) < 0x1p-6 ? coarse : x);
}
template <>
GLOW_HD inline double round_state<double>(double x) {
    return x;
}

}  // namespace glow

// Elementary functions against long double ones. Errors are in units of 2^-52 of the exact value.
#include "kernels/math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/coupling_scale.h"
#include "tests/support.h"

namespace glow {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kSmallest = std::numeric_limits<double>::denorm_min();

double error_units(double value, long double exact) {
    return static_cast<double>(std::abs((static_cast<long double>(value) - exact) / exact) * 0x1p52L);
}

TEST(Math, ExponentialIsAccurate) {
    test::Random random(1);
    double worst = 0;
    for (int i = 0; i < 300000; ++i) {
        const double wide = random.uniform(-708, 709.7), narrow = random.uniform(-2, 2);
        const double tiny = std::ldexp(random.uniform(-1, 1), random.integer(-1060, 0));
        for (const double x : {wide, narrow, tiny})
            worst = std::max(worst, error_units(exp_of(x), std::exp(static_cast<long double>(x))));
    }
    EXPECT_LE(worst, 2);  // the last Horner step, 1 + r p, and the rounding of r
    EXPECT_EQ(exp_of(0), 1.0);
    EXPECT_EQ(exp_of(kSmallest), 1.0);
}

TEST(Math, ExponentialUnderflowsGradually) {
    test::Random random(2);
    for (int i = 0; i < 100000; ++i) {
        const double x = random.uniform(-746, -708);
        const long double exact = std::exp(static_cast<long double>(x));
        // One rounding to the denormal grid on top of the relative error of two units.
        ASSERT_LE(std::abs(exp_of(x) - exact), 0.51L * kSmallest + 2 * 0x1p-52L * exact) << x;
    }
    EXPECT_EQ(exp_of(-746), 0.0);
    EXPECT_EQ(exp_of(-1e300), 0.0);
    EXPECT_EQ(exp_of(-kInfinity), 0.0);
}

TEST(Math, ExponentialOverflowsAndPropagatesNaN) {
    EXPECT_TRUE(std::isfinite(exp_of(709.78)));
    EXPECT_EQ(exp_of(709.79), kInfinity);
    EXPECT_EQ(exp_of(1e300), kInfinity);
    EXPECT_EQ(exp_of(kInfinity), kInfinity);
    EXPECT_TRUE(std::isnan(exp_of(kNaN)));
}

TEST(Math, Log1pIsAccurateOnUnitInterval) {
    test::Random random(3);
    double worst = 0;
    for (int i = 0; i < 300000; ++i) {
        const double uniform = random.uniform(0, 1);
        const double tiny = std::ldexp(random.uniform(0.5, 1), random.integer(-1000, 0));
        for (const double e : {uniform, tiny})
            worst = std::max(worst, error_units(log1p_unit(e), std::log1p(static_cast<long double>(e))));
    }
    EXPECT_LE(worst, 3);  // rounding of s and of two products
    EXPECT_EQ(log1p_unit(0), 0.0);
    EXPECT_NEAR(log1p_unit(1), std::log(2.0), 3 * 0x1p-53);
    EXPECT_LE(std::abs(log1p_unit(3 * kSmallest) - 3 * kSmallest), kSmallest);
    EXPECT_TRUE(std::isnan(log1p_unit(kNaN)));
}

TEST(Math, SineAndCosineAreAccurate) {
    const long double two_pi = 6.283185307179586476925286766559L;
    test::Random random(4);
    double worst = 0;
    for (int i = 0; i < 300000; ++i) {
        const double tiny = std::ldexp(random.uniform(0.5, 1), random.integer(-60, 0));
        for (const double t : {random.uniform(0, 1), tiny, 1 - tiny}) {
            const long double c = std::cos(two_pi * t), s = std::sin(two_pi * t);
            worst = std::max<double>(worst, std::abs(cos_2pi(t) - c));
            worst = std::max<double>(worst, std::abs(sin_2pi(t) - s));
        }
    }
    EXPECT_LE(worst, 0x1p-52);  // of values up to 1
    const double quarter[5] = {0, 0.25, 0.5, 0.75, 1};
    const double cosine[5] = {1, 0, -1, 0, 1}, sine[5] = {0, 1, 0, -1, 0};
    for (int i = 0; i < 5; ++i) {
        EXPECT_EQ(cos_2pi(quarter[i]), cosine[i]);
        EXPECT_EQ(sin_2pi(quarter[i]), sine[i]);
    }
}

TEST(Math, ScaleAndLogarithmAreAccurate) {
    test::Random random(5);
    double worst_value = 0, worst_log = 0;
    for (int i = 0; i < 300000; ++i) {
        const double tiny = std::ldexp(random.uniform(-1, 1), random.integer(-300, 0));
        for (const double t : {random.uniform(-700, 700), random.uniform(-10, 10), tiny}) {
            const long double x = t;
            const long double value = x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
            const long double log = x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x));
            const Scale scale = sigmoid_scale(t);
            worst_value = std::max(worst_value, error_units(scale.value, value));
            worst_log = std::max(worst_log, error_units(scale.log, log));
        }
    }
    EXPECT_LE(worst_value, 3);  // the exponential's two, the sum and the quotient
    EXPECT_LE(worst_log, 5);    // the exponential's two and the logarithm's three
}

TEST(Math, BoundedScaleAndLogarithmAreAccurate) {
    test::Random random(6);
    double worst_value = 0, worst_log = 0, worst_slope = 0;
    for (int i = 0; i < 300000; ++i) {
        const double tiny = std::ldexp(random.uniform(-1, 1), random.integer(-300, 0));
        for (const double t : {random.uniform(-700, 700), random.uniform(-10, 10), tiny}) {
            const long double log = 2 * std::tanh(static_cast<long double>(t) / 2);
            const Scale scale = tanh_scale(t);
            worst_value = std::max(worst_value, error_units(scale.value, std::exp(log)));
            worst_log = std::max(worst_log, std::abs(static_cast<double>(scale.log - log)));
            const double slope = coupling_scale_slope<CouplingScale::tanh>(scale);
            worst_slope = std::max(worst_slope, std::abs(static_cast<double>(slope - (1 - log * log / 4))));
        }
    }
    // The logarithm's error, absolute as it enters a sum: some units of 2^-53 of numbers of up to 2.
    EXPECT_LE(worst_log, 4 * 0x1p-52);
    EXPECT_LE(worst_value, 8);  // the exponential's two, and the logarithm's error
    EXPECT_LE(worst_slope, 4 * 0x1p-52);
}

TEST(Math, BoundedScaleSaturates) {
    for (const double t : {40.0, 1e6, kInfinity}) {
        EXPECT_EQ(tanh_scale(t).log, 2.0);
        EXPECT_EQ(tanh_scale(-t).log, -2.0);
        EXPECT_EQ(coupling_scale_slope<CouplingScale::tanh>(tanh_scale(t)), 0.0);
    }
    EXPECT_EQ(tanh_scale(0).value, 1.0);
    EXPECT_EQ(tanh_scale(0).log, 0.0);
    EXPECT_TRUE(std::isnan(tanh_scale(kNaN).value));
    EXPECT_TRUE(std::isnan(tanh_scale(kNaN).log));
}

TEST(Math, SaturatedScaleKeepsLogarithm) {
    EXPECT_EQ(sigmoid_scale(40).value, 1.0);
    EXPECT_NEAR(sigmoid_scale(40).log / -std::exp(-40.0), 1, 1e-15);
    EXPECT_EQ(sigmoid_scale(-1000).value, 0.0);
    EXPECT_EQ(sigmoid_scale(-1000).log, -1000.0);
    EXPECT_EQ(sigmoid_scale(kInfinity).value, 1.0);
    EXPECT_EQ(sigmoid_scale(kInfinity).log, 0.0);
    EXPECT_TRUE(std::isnan(sigmoid_scale(kNaN).value));
    EXPECT_TRUE(std::isnan(sigmoid_scale(kNaN).log));
}

std::uint32_t bits_of(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
float float_of(std::uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

TEST(Bfloat16, EveryValueRoundTrips) {
    for (std::uint32_t bits = 0; bits < 0x10000u; ++bits) {
        const bfloat16 value{static_cast<std::uint16_t>(bits)};
        const float x = widen(value);
        if (std::isnan(x))
            EXPECT_TRUE(std::isnan(widen(round_to<bfloat16>(x))));
        else
            ASSERT_EQ(round_to<bfloat16>(x).bits, bits);
    }
}

TEST(Bfloat16, RoundsToNearestEven) {
    test::Random random(6);
    std::vector<std::uint32_t> patterns = {0x3f808000u, 0x3f818000u, 0x3f807fffu, 0x3f808001u, 0xbf808000u,
                                           0x00008000u, 0x00018000u, 0x7f7f7fffu, 0x7f7f8000u, 0x7f7fffffu};
    for (int i = 0; i < 200000; ++i)
        patterns.push_back(static_cast<std::uint32_t>(random.integer(0, 0xffff)) << 16 |
                           static_cast<std::uint32_t>(random.integer(0, 0xffff)));
    for (const std::uint32_t bits : patterns) {
        const float x = float_of(bits);
        if (!std::isfinite(x)) continue;
        const std::uint32_t low = bits & 0xffff0000u, high = low + 0x10000u;
        // Above the largest value the next one would be 2^128; reaching it means infinity.
        const double above = (high & 0x7fffffffu) == 0x7f800000u ? std::copysign(0x1p128, x)
                                                                 : static_cast<double>(float_of(high));
        const double down = std::abs(static_cast<double>(x) - float_of(low)), up = std::abs(above - x);
        const bool even_low = ((low >> 16) & 1) == 0;
        const std::uint32_t expected = down < up || (down == up && even_low) ? low : high;
        ASSERT_EQ(round_to<bfloat16>(x).bits, expected >> 16) << std::hex << bits;
    }
    EXPECT_EQ(bits_of(widen(round_to<bfloat16>(-0.0f))), 0x80000000u);
    EXPECT_EQ(widen(round_to<bfloat16>(kInfinity)), kInfinity);
    EXPECT_EQ(widen(round_to<bfloat16>(-1e300)), -kInfinity);
    EXPECT_TRUE(std::isnan(widen(round_to<bfloat16>(kNaN))));
    EXPECT_TRUE(std::isnan(widen(round_to<bfloat16>(float_of(0x7f800001u)))));
}

}  // namespace
}  // namespace glow

#include "kernels/dequantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/reduce.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

std::vector<std::uint8_t> all_pixels(index_t count) {
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(count));
    std::iota(pixels.begin(), pixels.end(), std::uint8_t{0});
    return pixels;
}

TEST(Dequantize, MatchesSpecification) {
    const index_t N = 3, D = 257;  // not a multiple of the four words of a Philox block
    const std::uint64_t item[3] = {5, 0, std::uint64_t{1} << 40};
    const std::vector<std::uint8_t> pixels = all_pixels(N * D);
    for (int n_bits = 1; n_bits <= 8; ++n_bits)
        for (const Dequantization kind : {Dequantization::uniform, Dequantization::center}) {
            std::vector<double> h(N * D, -1);
            dequantize(test::cpu(), {N, D, n_bits, pixels.data()}, {kind, 11, Purpose::dequantize, item},
                       h.data());
            for (index_t n = 0; n < N; ++n)
                for (index_t i = 0; i < D; ++i) {
                    const PhiloxWords words =
                        philox_block(11, Purpose::dequantize, item[n], static_cast<std::uint64_t>(i / 4));
                    const double u =
                        kind == Dequantization::uniform ? ((words.word[i % 4] >> 8) + 0.5) / 16777216.0 : 0.5;
                    const double k = std::floor(pixels[n * D + i] / std::pow(2.0, 8 - n_bits));
                    ASSERT_EQ(h[n * D + i], (k + u) / std::pow(2.0, n_bits) - 0.5);
                }
        }
}

TEST(Dequantize, QuantizeRestoresBin) {
    const index_t N = 4, D = 256;
    const std::uint64_t item[4] = {0, 1, 2, 3};
    const std::vector<std::uint8_t> pixels = all_pixels(N * D);
    for (int n_bits = 1; n_bits <= 8; ++n_bits)
        for (const Dequantization kind : {Dequantization::uniform, Dequantization::center}) {
            std::vector<double> h(N * D);
            std::vector<std::uint8_t> back(N * D);
            dequantize(test::cpu(), {N, D, n_bits, pixels.data()}, {kind, 3, Purpose::evaluate, item},
                       h.data());
            quantize(test::cpu(), N * D, n_bits, h.data(), back.data());
            const int mask = 0xff & ~((1 << (8 - n_bits)) - 1);
            for (index_t i = 0; i < N * D; ++i) ASSERT_EQ(back[i], pixels[i] & mask);
        }
}

TEST(Quantize, ClipsAndMapsNaNToZero) {
    const double infinity = std::numeric_limits<double>::infinity();
    const std::vector<double> h = {
        -0.6, -1e300, -infinity, 0.499999, 0.5, 7, 1e300, infinity, std::numeric_limits<double>::quiet_NaN()};
    std::vector<std::uint8_t> pixels(h.size());
    quantize(test::cpu(), static_cast<index_t>(h.size()), 8, h.data(), pixels.data());
    EXPECT_EQ(pixels, (std::vector<std::uint8_t>{0, 0, 0, 255, 255, 255, 255, 255, 0}));
    quantize(test::cpu(), static_cast<index_t>(h.size()), 5, h.data(), pixels.data());
    EXPECT_EQ(pixels, (std::vector<std::uint8_t>{0, 0, 0, 248, 255, 255, 255, 255, 0}));
}

TEST(DequantizeDifference, IsMaximumPerImage) {
    const index_t N = 4, D = 101;
    const std::uint64_t item[4] = {9, 8, 7, 6};
    const Noise noise{Dequantization::uniform, 2, Purpose::dequantize, item};
    const std::vector<std::uint8_t> pixels = all_pixels(N * D);
    std::vector<double> h(N * D), difference(N, -1), partial(group_scratch(N));
    dequantize(test::cpu(), {N, D, 8, pixels.data()}, noise, h.data());
    h[0 * D + 3] += 0.25;
    h[0 * D + 100] -= 0.5;
    h[1 * D + 50] -= 1e-9;
    h[2 * D + 7] = std::numeric_limits<double>::quiet_NaN();
    h[2 * D + 8] += 3;
    dequantize_difference(test::cpu(), {N, D, 8, pixels.data()}, noise, h.data(), difference.data(),
                          partial.data());
    EXPECT_EQ(difference[0], 0.5);
    EXPECT_NEAR(difference[1], 1e-9, 1e-16);  // rounding of h near 1/2
    EXPECT_EQ(difference[2], std::numeric_limits<double>::infinity());
    EXPECT_EQ(difference[3], 0);
}

TEST(LargestValues, AreMaximumOrInfinitePerImage) {
    const index_t N = 5, D = 101;
    const double infinity = std::numeric_limits<double>::infinity();
    std::vector<double> h(N * D, 0.25), largest(N, -1), partial(group_scratch(N));
    h[0 * D + 100] = -3;
    h[1 * D + 50] = std::numeric_limits<double>::quiet_NaN();
    h[1 * D + 51] = 7;
    h[2 * D] = -infinity;
    h[3 * D + 1] = 1e299;
    largest_values(test::cpu(), N, D, h.data(), largest.data(), partial.data());
    EXPECT_EQ(largest, (std::vector<double>{3, infinity, infinity, 1e299, 0.25}));
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

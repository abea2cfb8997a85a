#include "kernels/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <tuple>

namespace glow {
namespace {

void expect_words(const PhiloxWords& words, std::uint32_t w0, std::uint32_t w1, std::uint32_t w2,
                  std::uint32_t w3) {
    EXPECT_EQ(words.word[0], w0);
    EXPECT_EQ(words.word[1], w1);
    EXPECT_EQ(words.word[2], w2);
    EXPECT_EQ(words.word[3], w3);
}

// The known answers published with Random123 (kat_vectors, philox4x32 10).
TEST(Philox, MatchesPublishedVectors) {
    const std::uint32_t ones = 0xffffffffu;
    expect_words(philox4x32({{0, 0, 0, 0}}, 0, 0), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
    expect_words(philox4x32({{ones, ones, ones, ones}}, ones, ones), 0x408f276d, 0x41c83b0e, 0xa20bc7c6,
                 0x6d5451fd);
    expect_words(philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0),
                 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1);
}

TEST(Philox, StreamsDiffer) {
    std::set<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>> seen;
    int streams = 0;
    for (const std::uint64_t seed : {0ull, 1ull, 1ull << 32})
        for (const Purpose purpose : {Purpose::dequantize, Purpose::sample, Purpose::weights})
            for (const std::uint64_t item : {0ull, 1ull, 1ull << 32, ~0ull})
                for (const std::uint64_t block : {0ull, 1ull, 1ull << 32}) {
                    const PhiloxWords w = philox_block(seed, purpose, item, block);
                    seen.insert({w.word[0], w.word[1], w.word[2], w.word[3]});
                    ++streams;
                }
    EXPECT_EQ(static_cast<int>(seen.size()), streams);
}

TEST(Philox, UniformNumbersLieOnSpecifiedGrid) {
    EXPECT_EQ(philox_uniform(0), 0x1p-25);
    EXPECT_EQ(philox_uniform(0xff), 0x1p-25);
    EXPECT_EQ(philox_uniform(0x100), 3 * 0x1p-25);
    EXPECT_EQ(philox_uniform(0xffffffffu), 1.0 - 0x1p-25);
}

TEST(Philox, NormalNumbersAreFiniteAtExtremes) {
    for (const std::uint32_t word0 : {0u, 1u, 0xffffffffu})
        for (const std::uint32_t word1 : {0u, 0x3fffffffu, 0x80000000u, 0xffffffffu}) {
            const NormalPair pair = philox_normal(word0, word1);
            EXPECT_TRUE(std::isfinite(pair.first) && std::isfinite(pair.second));
        }
    // The largest: sqrt(-2 log(2^-33)) = 6.76.
    EXPECT_NEAR(philox_normal(0, 0).first, std::sqrt(66 * std::log(2.0)), 1e-9);
}

TEST(Philox, NormalNumbersHaveNormalMoments) {
    const int blocks = 250000;
    const double n = 4.0 * blocks;
    double moment[5] = {}, product = 0;
    for (int block = 0; block < blocks; ++block) {
        const PhiloxWords words = philox_block(7, Purpose::sample, 3, static_cast<std::uint64_t>(block));
        for (int pair = 0; pair < 2; ++pair) {
            const NormalPair z = philox_normal(words.word[2 * pair], words.word[2 * pair + 1]);
            product += z.first * z.second / (n / 2);
            for (const double value : {z.first, z.second})
                for (int k = 1; k <= 4; ++k) moment[k] += std::pow(value, k) / n;
        }
    }
    // Five standard deviations of each estimate: Var(z^k) = 1, 2, 15, 96; that of the product 1.
    EXPECT_NEAR(moment[1], 0, 5 * std::sqrt(1 / n));
    EXPECT_NEAR(moment[2], 1, 5 * std::sqrt(2 / n));
    EXPECT_NEAR(moment[3], 0, 5 * std::sqrt(15 / n));
    EXPECT_NEAR(moment[4], 3, 5 * std::sqrt(96 / n));
    EXPECT_NEAR(product, 0, 5 * std::sqrt(2 / n));
}

}  // namespace
}  // namespace glow

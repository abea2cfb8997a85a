// Ranks, areas and sizes for small examples.
#include "inference/scores.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support.h"

namespace glow {
namespace {

TEST(Scores, AurocIsFractionOfOrderedPairs) {
    test::Random random(1);
    std::vector<double> low, high;
    for (int i = 0; i < 200; ++i) {
        low.push_back(random.integer(0, 20));  // with ties
        high.push_back(random.integer(5, 25));
    }
    double pairs = 0;
    for (const double a : low)
        for (const double b : high) pairs += b > a ? 1 : b == a ? 0.5 : 0;
    EXPECT_DOUBLE_EQ(auroc(low, high), pairs / 40000);
    EXPECT_DOUBLE_EQ(auroc(high, low), 1 - pairs / 40000);
    EXPECT_EQ(auroc({1, 2}, {3}), 1);
    EXPECT_EQ(auroc({3}, {1, 2}), 0);
    EXPECT_EQ(auroc({1}, {1}), 0.5);
}

TEST(Scores, CorrelationOfLinesAndConstants) {
    EXPECT_NEAR(*correlation({1, 2, 5}, {3, 5, 11}), 1, 1e-15);
    EXPECT_NEAR(*correlation({1, 2, 5}, {-3, -5, -11}), -1, 1e-15);
    EXPECT_EQ(correlation({1, 2}, {4, 4}), std::nullopt);
    EXPECT_EQ(correlation({1}, {4}), std::nullopt);
    EXPECT_NEAR(*correlation({1, 0, -1, 0}, {0, 1, 0, -1}), 0, 1e-15);
}

TEST(Scores, SortIsAscendingAndStable) {
    EXPECT_EQ(argsort({3, 1, 2, 1}), (std::vector<index_t>{1, 3, 2, 0}));
}

TEST(Scores, PngSizeFollowsComplexity) {
    ImageSet set{2, 32, 32, 3, std::vector<std::uint8_t>(2 * 32 * 32 * 3, 77), {}, 0};
    test::Random random(1);
    for (index_t i = 0; i < set.image_bytes(); ++i)
        set.images[set.image_bytes() + i] = static_cast<std::uint8_t>(random.integer(0, 255));
    const std::vector<double> bits = png_bits_per_dim(set, 8);
    EXPECT_LT(bits[0], 0.5);
    EXPECT_GT(bits[1], 8);
    EXPECT_LT(bits[1], 8.5);
}

TEST(Scores, PngSizeIgnoresBitsThatTheModelDoesNotSee) {
    ImageSet upper{70, 8, 8, 1, std::vector<std::uint8_t>(70 * 64), {}, 0}, all = upper;
    test::Random random(3);
    for (std::size_t i = 0; i < upper.images.size(); ++i) {
        upper.images[i] = static_cast<std::uint8_t>(32 * random.integer(0, 7));
        all.images[i] = static_cast<std::uint8_t>(upper.images[i] + random.integer(0, 31));
    }
    const std::vector<double> seen = png_bits_per_dim(upper, 8);
    EXPECT_EQ(png_bits_per_dim(upper, 3), seen);
    EXPECT_EQ(png_bits_per_dim(all, 3), seen);
    EXPECT_GT(png_bits_per_dim(all, 4)[0], seen[0]);
}

TEST(Scores, PngSizesOfManyImages) {
    const ImageSet one{1, 4, 4, 1, std::vector<std::uint8_t>(16, 3), {}, 0};
    test::Random random(2);
    ImageSet many{150, 4, 4, 1, std::vector<std::uint8_t>(150 * 16), {}, 0};
    for (std::uint8_t& pixel : many.images) pixel = static_cast<std::uint8_t>(random.integer(0, 255));
    for (const index_t n : {0, 63, 64, 149}) std::copy_n(one.image(0), 16, many.images.data() + n * 16);
    const std::vector<double> bits = png_bits_per_dim(many, 8);
    ASSERT_EQ(bits.size(), 150u);
    for (const index_t n : {0, 63, 64, 149}) EXPECT_EQ(bits[n], png_bits_per_dim(one, 8)[0]);
    EXPECT_GT(bits[1], bits[0]);
}

}  // namespace
}  // namespace glow

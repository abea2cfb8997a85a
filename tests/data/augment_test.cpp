#include "data/augment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "kernels/error.h"

namespace glow {
namespace {

using Pixels = std::vector<std::uint8_t>;

// [H, W, C] with a distinct value at every row, column and channel (sizes below 12, 12, 2).
Pixels picture(index_t H, index_t W, index_t C) {
    Pixels pixels;
    for (index_t y = 0; y < H; ++y)
        for (index_t x = 0; x < W; ++x)
            for (index_t c = 0; c < C; ++c)
                pixels.push_back(static_cast<std::uint8_t>((y * 12 + x) * 1 + 7 * c));
    return pixels;
}

Pixels augmented(const char* kind, std::uint64_t seed, std::uint64_t number, const Pixels& source, index_t H,
                 index_t W, index_t C) {
    Pixels result(source.size());
    augment_image(parse_name<Augmentation>(kind), seed, number, source.data(), H, W, C, result.data());
    return result;
}

// Reference implementation, pixel by pixel.
Pixels shifted(const Pixels& source, index_t H, index_t W, index_t C, index_t down, index_t right,
               bool flip) {
    Pixels result(source.size());
    for (index_t y = 0; y < H; ++y) {
        for (index_t x = 0; x < W; ++x) {
            const index_t from_y = std::clamp<index_t>(y - down, 0, H - 1);
            index_t from_x = std::clamp<index_t>(x - right, 0, W - 1);
            if (flip) from_x = W - 1 - from_x;
            for (index_t c = 0; c < C; ++c)
                result[static_cast<std::size_t>((y * W + x) * C + c)] =
                    source[static_cast<std::size_t>((from_y * W + from_x) * C + c)];
        }
    }
    return result;
}

TEST(Augment, NoneCopiesInput) {
    const Pixels source = picture(10, 11, 3);
    for (std::uint64_t n = 0; n < 50; ++n) EXPECT_EQ(augmented("none", 1, n, source, 10, 11, 3), source);
}

TEST(Augment, FlipMirrorsHalfTheImages) {
    const Pixels source = picture(6, 5, 3), mirrored = shifted(source, 6, 5, 3, 0, 0, true);
    int flips = 0;
    constexpr int images = 10000;
    for (std::uint64_t n = 0; n < images; ++n) {
        const Pixels result = augmented("flip", 1, n, source, 6, 5, 3);
        if (result == mirrored)
            ++flips;
        else
            ASSERT_EQ(result, source);
    }
    EXPECT_NEAR(flips, images / 2, 5 * std::sqrt(images) / 2);  // five standard deviations
}

TEST(Augment, ShiftsUpToTenPercentWithEdgeReplication) {
    constexpr index_t H = 32, W = 20, C = 1;
    Pixels source(H * W);
    for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::uint8_t>(i * 37 + i / 7);
    for (const bool flips : {false, true}) {
        std::map<std::array<int, 3>, Pixels> expected;
        for (int down = -3; down <= 3; ++down)
            for (int right = -2; right <= 2; ++right)
                for (int flip = 0; flip <= flips; ++flip)
                    expected[std::array<int, 3>{down, right, flip}] =
                        shifted(source, H, W, C, down, right, flip != 0);
        std::map<std::array<int, 3>, int> counts;
        for (std::uint64_t n = 0; n < 3000; ++n) {
            const Pixels result = augmented(flips ? "shift+flip" : "shift", 2, n, source, H, W, C);
            bool found = false;
            for (const auto& [shift, pixels] : expected) {
                if (pixels != result) continue;
                ++counts[shift];
                found = true;
            }
            ASSERT_TRUE(found);
        }
        EXPECT_EQ(counts.size(), expected.size());  // all 35 or 70 shifts occur
    }
}

TEST(Augment, SmallImagesAreNotShifted) {
    const Pixels source = picture(9, 9, 2);
    for (std::uint64_t n = 0; n < 50; ++n) EXPECT_EQ(augmented("shift", 1, n, source, 9, 9, 2), source);
}

TEST(Augment, DependsOnlyOnSeedAndImageNumber) {
    const Pixels source = picture(10, 10, 2);
    std::set<std::string> by_number, by_seed;
    const auto text = [](const Pixels& pixels) { return std::string(pixels.begin(), pixels.end()); };
    for (std::uint64_t n = 0; n < 200; ++n) {
        EXPECT_EQ(augmented("shift+flip", 5, n, source, 10, 10, 2),
                  augmented("shift+flip", 5, n, source, 10, 10, 2));
        by_number.insert(text(augmented("shift+flip", 5, n, source, 10, 10, 2)));
        by_seed.insert(text(augmented("shift+flip", n, 5, source, 10, 10, 2)));
    }
    EXPECT_EQ(by_number.size(), 18u);  // 3 x 3 shifts, flipped or not
    EXPECT_EQ(by_seed.size(), 18u);
}

TEST(Augment, NamesRoundTrip) {
    for (const char* name : {"none", "flip", "shift", "shift+flip"})
        EXPECT_EQ(to_string(parse_name<Augmentation>(name)), name);
    for (const char* name : {"", "Flip", "flip+shift", "rotate"})
        EXPECT_THROW(parse_name<Augmentation>(name), InputError);
}

}  // namespace
}  // namespace glow

#include "kernels/squeeze_split.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

TEST(Squeeze, MatchesSpecificationByHand) {
    // One 4x4x1 image with the numbers 0..15 in row order.
    std::vector<double> h(16), scratch(16);
    std::iota(h.begin(), h.end(), 0.0);
    squeeze(test::cpu(), 1, 4, 4, 1, h.data(), scratch.data());
    EXPECT_EQ(h, (std::vector<double>{0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15}));
    // One 2x2x2 image: channels (0, 1), (2, 3), (4, 5), (6, 7) of its pixels.
    std::vector<float> two(8), scratch_two(8);
    std::iota(two.begin(), two.end(), 0.0f);
    squeeze(test::cpu(), 1, 2, 2, 2, two.data(), scratch_two.data());
    EXPECT_EQ(two, (std::vector<float>{0, 2, 4, 6, 1, 3, 5, 7}));
}

struct Size {
    index_t N, H, W, C;
};
const Size kSizes[] = {{1, 4, 4, 1}, {2, 4, 4, 2}, {3, 4, 4, 3}, {2, 2, 6, 5}, {1, 2, 2, 1}, {2, 64, 32, 3}};

TEST(Squeeze, OrdersChannels) {
    for (const auto& [N, H, W, C] : kSizes) {
        const std::vector<double> x = test::Random(1).normals(N * H * W * C);
        std::vector<double> y = x, scratch(x.size());
        squeeze(test::cpu(), N, H, W, C, y.data(), scratch.data());
        for (index_t n = 0; n < N; ++n)
            for (index_t r = 0; r < H; ++r)
                for (index_t s = 0; s < W; ++s)
                    for (index_t c = 0; c < C; ++c) {
                        const index_t pixel = (n * (H / 2) + r / 2) * (W / 2) + s / 2;
                        ASSERT_EQ(y[pixel * 4 * C + c * 4 + (r % 2) * 2 + s % 2],
                                  x[((n * H + r) * W + s) * C + c]);
                    }
    }
}

template <class T>
void expect_unsqueeze_undoes_squeeze() {
    for (const auto& [N, H, W, C] : kSizes) {
        const std::vector<T> x = test::Random(2).normals<T>(N * H * W * C);
        std::vector<T> y = x, scratch(x.size());
        squeeze(test::cpu(), N, H, W, C, y.data(), scratch.data());
        unsqueeze(test::cpu(), N, H, W, C, y.data(), scratch.data());
        EXPECT_EQ(y, x);
    }
}

TEST(Squeeze, UnsqueezeInverts) {
    expect_unsqueeze_undoes_squeeze<double>();
    expect_unsqueeze_undoes_squeeze<float>();
}

template <class T>
void expect_halves() {
    const index_t rows = 37, C = 6;
    const std::vector<T> x = test::Random(3).normals<T>(rows * C);
    std::vector<T> y = x, scratch(x.size());
    split_halves(test::cpu(), rows, C, y.data(), scratch.data());
    for (index_t row = 0; row < rows; ++row)
        for (index_t c = 0; c < C / 2; ++c) {
            ASSERT_EQ(y[row * C / 2 + c], x[row * C + c]);
            ASSERT_EQ(y[(rows + row) * C / 2 + c], x[row * C + C / 2 + c]);
        }
    merge_halves(test::cpu(), rows, C, y.data(), scratch.data());
    EXPECT_EQ(y, x);
}

TEST(SplitHalves, SeparatesHalvesAndInverts) {
    expect_halves<double>();
    expect_halves<float>();
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

#include "layers/split.h"

#include <limits>

#include "tests/layers/direct_network.h"
#include "tests/layers/layer_harness.h"

namespace glow::inline GLOW_REAL {
namespace {

struct SplitHarness : LayerHarness {
    SplitHarness(bool edge, index_t N, const Shape& shape, index_t tile)
        : LayerHarness(N, shape, [&](Parameters& parameters) {
              ModelConfig config;
              config.edge_bias = edge;
              return std::make_unique<Split>(config, shape, tile, "split", parameters);
          }) {
        // Backward sets the gradient of the split-off part; the incoming value is ignored.
        std::fill(g.begin() + N * shape.size() / 2, g.end(), 0.0);
    }
    Split* split = static_cast<Split*>(layer.get());
};

class SplitTest : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Edge, SplitTest, testing::Bool());

TEST_P(SplitTest, GradientsMatchDifferences) {
    SplitHarness(GetParam(), 3, {4, 3, 4}, 2).expect_correct_gradients();
    SplitHarness(GetParam(), 2, {1, 2, 6}, 0).expect_correct_gradients();
}

TEST_P(SplitTest, BackwardReconstructsInput) {
    SplitHarness(GetParam(), 3, {4, 3, 4}, 2).expect_reconstructed_input();
}

TEST_P(SplitTest, BackwardIgnoresIncomingLatentGradient) {
    SplitHarness harness(GetParam(), 3, {4, 3, 4}, 2);
    harness.loss();
    const std::vector<double> y = harness.h;
    harness.backward();
    const std::vector<double> dx = harness.dh;
    harness.h = y;
    std::fill(harness.g.begin() + 3 * 48 / 2, harness.g.end(), std::numeric_limits<double>::quiet_NaN());
    harness.backward();
    EXPECT_EQ(harness.dh, dx);
}

TEST_P(SplitTest, GradientsAccumulate) {
    SplitHarness(GetParam(), 3, {4, 3, 4}, 2).expect_accumulating_gradients();
}

TEST_P(SplitTest, MatchesSpecification) {
    const Shape shape{3, 4, 6};
    const index_t N = 3, half = shape.C / 2, rows = N * shape.pixels();
    SplitHarness harness(GetParam(), N, shape, 2);
    harness.loss();
    EXPECT_EQ(harness.logdet, std::vector<double>(N, 0.0));
    const std::vector<double> y = harness.h, prior = harness.prior;
    for (index_t row = 0; row < rows; ++row)
        for (index_t c = 0; c < half; ++c) {
            ASSERT_EQ(y[row * half + c], harness.x[row * shape.C + c]);
            ASSERT_EQ(y[(rows + row) * half + c], harness.x[row * shape.C + half + c]);
        }
    const std::vector<double> conv =
        direct_convolution(shape, N, 3, GetParam(), half, shape.C, harness.x.data(), shape.C,
                           tensor_values(harness.parameters, "split/weight"));
    const real* const bias = tensor_values(harness.parameters, "split/bias");
    const real* const logs = tensor_values(harness.parameters, "split/logs");
    std::vector<double> expected(N, 0.0), eps(rows * half);
    for (index_t row = 0; row < rows; ++row)
        for (index_t c = 0; c < half; ++c) {
            const auto h = [&](index_t o) {
                return (conv[row * shape.C + o] + bias[o]) * std::exp(3 * logs[o]);
            };
            const double mean = h(2 * c), log_sigma = h(2 * c + 1), b = harness.x[row * shape.C + half + c];
            eps[row * half + c] = (b - mean) * std::exp(-log_sigma);
            expected[row / shape.pixels()] +=
                -0.5 * std::log(2 * M_PI) - log_sigma - 0.5 * eps[row * half + c] * eps[row * half + c];
        }
    EXPECT_LE(largest_difference(prior, expected), 1e-11);  // 36 terms, some of them large

    harness.run(y, [&](Flow& flow) { harness.split->encode(harness.machine.context, flow); });
    for (index_t i = 0; i < rows * half; ++i) {
        ASSERT_EQ(harness.h[i], y[i]);
        ASSERT_NEAR(harness.h[rows * half + i], eps[i], 1e-12 * (1 + std::abs(eps[i])));
    }
    const std::vector<double> encoded = harness.h;
    harness.run(encoded, [&](Flow& flow) { harness.split->decode(harness.machine.context, flow); });
    EXPECT_LE(largest_difference(harness.h, y), 1e-12);
}

TEST(Split, BlockedLargeImagesHaveNoSeam) {
    SplitHarness whole(true, 2, {70, 128, 2}, 2), apart(true, 2, {70, 128, 2}, 1);
    whole.loss();
    apart.loss();
    // Blocks of 64 rows are placed differently in one tile of two images and in two tiles of one.
    EXPECT_EQ(whole.h, apart.h);
    EXPECT_LE(largest_difference(whole.prior, apart.prior), 1e-9);  // sums of 9000 terms
    whole.expect_correct_gradients(true);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

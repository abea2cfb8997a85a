#include "layers/squeeze.h"

#include "tests/layers/layer_harness.h"

namespace glow::inline GLOW_REAL {
namespace {

LayerHarness squeeze_harness(const Shape& shape) {
    return LayerHarness(3, shape, [&](Parameters&) { return std::make_unique<Squeeze>(shape); });
}

TEST(Squeeze, GradientsMatchDifferences) {
    squeeze_harness({4, 6, 3}).expect_correct_gradients();
}

TEST(Squeeze, BackwardReconstructsInput) {
    squeeze_harness({4, 6, 3}).expect_reconstructed_input();
}

TEST(Squeeze, ChangesNoLogDeterminant) {
    LayerHarness harness = squeeze_harness({4, 6, 3});
    harness.loss();
    EXPECT_EQ(sum(harness.logdet), 0);
    EXPECT_EQ(sum(harness.prior), 0);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

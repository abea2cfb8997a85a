#include "layers/squeeze.h"

#include "tests/layers/layer_harness.h"

namespace glow::inline GLOW_REAL {
namespace {

LayerHarness alone(const Shape& shape) {
    return LayerHarness(3, shape, [&](Parameters&) { return std::make_unique<Squeeze>(shape); });
}

TEST(Squeeze, GradientsMatchDifferences) {
    alone({4, 6, 3}).expect_right_gradients();
}

TEST(Squeeze, BackwardReconstructsInput) {
    alone({4, 6, 3}).expect_rebuilt_input();
}

TEST(Squeeze, ChangesNoLogDeterminant) {
    LayerHarness squeeze = alone({4, 6, 3});
    squeeze.loss();
    EXPECT_EQ(sum(squeeze.logdet), 0);
    EXPECT_EQ(sum(squeeze.prior), 0);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

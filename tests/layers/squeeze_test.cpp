#include "layers/squeeze.h"

#include "tests/layers/alone.h"

namespace glow::inline GLOW_REAL {
namespace {

Alone alone(const Shape& shape) {
    return Alone(3, shape, [&](Parameters&) { return std::make_unique<Squeeze>(shape); });
}

TEST(Squeeze, GradientsMatchDifferences) {
    alone({4, 6, 3}).expect_right_gradients();
}

TEST(Squeeze, BackwardRebuildsInput) {
    alone({4, 6, 3}).expect_rebuilt_input();
}

TEST(Squeeze, ChangesNoLogDeterminant) {
    Alone squeeze = alone({4, 6, 3});
    squeeze.loss();
    EXPECT_EQ(sum(squeeze.logdet), 0);
    EXPECT_EQ(sum(squeeze.prior), 0);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

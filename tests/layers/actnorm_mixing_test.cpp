#include "layers/actnorm_mixing.h"

#include "tests/layers/alone.h"

namespace glow::inline GLOW_REAL {
namespace {

struct AloneMixing : Alone {
    AloneMixing(index_t N, const Shape& shape)
        : Alone(N, shape, [&](Parameters& parameters) {
              return std::make_unique<ActnormMixing>(shape, "step", parameters);
          }) {
        mixing->allocate(machine.derived);
        prepare = [this] { ASSERT_TRUE(std::isfinite(mixing->prepare(machine.context))); };
    }
    ActnormMixing* mixing = static_cast<ActnormMixing*>(layer.get());
};

const Shape kShapes[] = {{4, 4, 4}, {3, 2, 12}, {1, 1, 5}, {5, 1, 2}};

TEST(ActnormMixing, GradientsMatchDifferences) {
    for (const Shape& shape : kShapes) AloneMixing(3, shape).expect_right_gradients();
}

TEST(ActnormMixing, GradientsMatchDifferencesOverSeveralBlocksOfRows) {
    AloneMixing(3, {64, 48, 2}).expect_right_gradients();  // 9216 rows; a block is 8192
}

TEST(ActnormMixing, BackwardRebuildsInput) {
    for (const Shape& shape : kShapes) AloneMixing(3, shape).expect_rebuilt_input();
}

TEST(ActnormMixing, GradientsAccumulate) {
    AloneMixing(3, kShapes[1]).expect_accumulating_gradients();
}

TEST(ActnormMixing, LogDeterminantIsThatOfTheJacobian) {
    AloneMixing(2, {2, 2, 4}).expect_log_determinant();
    AloneMixing(2, {2, 1, 6}).expect_log_determinant();
}

TEST(ActnormMixing, LogDeterminantsOfItsPartsAddUp) {
    AloneMixing alone(2, {4, 3, 4});
    alone.loss();
    const double parts = alone.mixing->actnorm_logdet() + alone.mixing->mixing_logdet();
    EXPECT_EQ(alone.logdet, std::vector<double>(2, parts));
    double sum_logs = 0;
    for (const Tensor& tensor : alone.parameters.tensors())
        if (tensor.name == "step/actnorm/logs")
            for (index_t c = 0; c < 4; ++c) sum_logs += alone.values.value[tensor.offset + c];
    EXPECT_NEAR(alone.mixing->actnorm_logdet(), 12 * 3 * sum_logs, 1e-13);
}

// y_o = sum_i W[o,i] (x_i + b_i) exp(3 logs_i), entry by entry.
TEST(ActnormMixing, FollowsTheSpecificationsFormula) {
    const index_t C = 4;
    AloneMixing alone(2, {2, 3, C});
    alone.loss();
    const real* const bias = alone.values.value.data() + alone.parameters.tensors()[0].offset;
    const real* const logs = alone.values.value.data() + alone.parameters.tensors()[1].offset;
    const real* const W = alone.values.value.data() + alone.parameters.tensors()[2].offset;
    for (index_t row = 0; row < 12; ++row)
        for (index_t o = 0; o < C; ++o) {
            double y = 0;
            for (index_t i = 0; i < C; ++i)
                y += W[o * C + i] * (alone.x[row * C + i] + bias[i]) * std::exp(3 * logs[i]);
            EXPECT_NEAR(alone.h[row * C + o], y, 1e-14);
        }
}

TEST(ActnormMixing, PrepareSaysWhenTheLayerCannotRun) {
    const auto condition = [](const std::string& name, index_t first, index_t count, double value) {
        AloneMixing alone(1, {2, 2, 4});
        for (const Tensor& tensor : alone.parameters.tensors())
            if (tensor.name == name)
                for (index_t i = first; i < first + count; ++i)
                    alone.values.value[tensor.offset + i] = static_cast<real>(value);
        return alone.mixing->prepare(alone.machine.context);
    };
    const double nan = std::numeric_limits<double>::quiet_NaN();
    EXPECT_TRUE(std::isfinite(condition("", 0, 0, 0)));
    EXPECT_GE(condition("", 0, 0, 0), 1);
    EXPECT_TRUE(std::isinf(condition("step/invconv/weight", 0, 4, 0)));  // a row of zeros
    EXPECT_TRUE(std::isinf(condition("step/invconv/weight", 5, 1, nan)));
    EXPECT_TRUE(std::isinf(condition("step/actnorm/logs", 2, 1, nan)));
    EXPECT_TRUE(std::isinf(condition("step/actnorm/bias", 2, 1, nan)));
    EXPECT_TRUE(std::isinf(condition("step/actnorm/bias", 0, 1, HUGE_VAL)));
    EXPECT_TRUE(std::isinf(condition("step/actnorm/logs", 1, 1, 1000)));
    EXPECT_TRUE(std::isinf(condition("step/actnorm/logs", 1, 1, -1000)));
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

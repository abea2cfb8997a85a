#include "layers/actnorm_mixing.h"

#include <limits>

#include "tests/layers/layer_harness.h"

namespace glow::inline GLOW_REAL {
namespace {

struct MixingHarness : LayerHarness {
    MixingHarness(index_t N, const Shape& shape, Permutation permutation = Permutation::invconv)
        : LayerHarness(N, shape, [&](Parameters& parameters) {
              return std::make_unique<ActnormMixing>(shape, permutation, "step", parameters);
          }) {
        ActnormMixing::allocate({&mixing, 1}, machine.derived, &condition);
        prepare = [this] {
            derive();
            ASSERT_TRUE(std::isfinite(condition));
        };
    }
    void derive() { ActnormMixing::derive(machine.context, {&mixing, 1}); }
    const real* tensor(const std::string& name) const {
        for (const Tensor& tensor : parameters.tensors())
            if (tensor.name == name) return values.value.data() + tensor.offset;
        for (const Tensor& tensor : parameters.fixed_tensors())
            if (tensor.name == name) return values.fixed.data() + tensor.offset;
        ADD_FAILURE() << "no tensor " << name;
        return nullptr;
    }

    ActnormMixing* mixing = static_cast<ActnormMixing*>(layer.get());
    double condition = -1;
};

const Shape kShapes[] = {{4, 4, 4}, {3, 2, 12}, {1, 1, 5}, {5, 1, 2}};

class ActnormMixingTest : public testing::TestWithParam<Permutation> {};
INSTANTIATE_TEST_SUITE_P(Permutations, ActnormMixingTest,
                         testing::Values(Permutation::invconv, Permutation::invconv_lu, Permutation::shuffle,
                                         Permutation::reverse),
                         [](const auto& info) { return to_string(info.param); });

TEST_P(ActnormMixingTest, GradientsMatchDifferences) {
    for (const Shape& shape : kShapes) MixingHarness(3, shape, GetParam()).expect_correct_gradients();
}

TEST_P(ActnormMixingTest, BackwardReconstructsInput) {
    for (const Shape& shape : kShapes) MixingHarness(3, shape, GetParam()).expect_reconstructed_input();
}

TEST_P(ActnormMixingTest, GradientsAccumulate) {
    MixingHarness(3, kShapes[1], GetParam()).expect_accumulating_gradients();
}

TEST_P(ActnormMixingTest, LogDeterminantMatchesJacobian) {
    MixingHarness(2, {2, 2, 4}, GetParam()).expect_log_determinant();
    MixingHarness(2, {2, 1, 6}, GetParam()).expect_log_determinant();
}

TEST_P(ActnormMixingTest, LogDeterminantIsSumOfParts) {
    MixingHarness harness(2, {4, 3, 4}, GetParam());
    harness.loss();
    const MixingValues& values = harness.mixing->values();
    EXPECT_EQ(harness.logdet, std::vector<double>(2, *values.actnorm_logdet + *values.mixing_logdet));
    double sum_logs = 0;
    for (index_t c = 0; c < 4; ++c) sum_logs += harness.tensor("step/actnorm/logs")[c];
    EXPECT_NEAR(*values.actnorm_logdet, 12 * 3 * sum_logs, 1e-13);
    if (GetParam() == Permutation::shuffle || GetParam() == Permutation::reverse) {
        EXPECT_EQ(*values.mixing_logdet, 0);
        EXPECT_EQ(harness.condition, 1);
    }
}

// Reference: W by the specification, element by element.
std::vector<double> specified_weight(const MixingHarness& harness, Permutation permutation, index_t C) {
    std::vector<double> W(static_cast<std::size_t>(C * C), 0.0);
    if (permutation == Permutation::invconv)
        std::copy_n(harness.tensor("step/invconv/weight"), C * C, W.begin());
    for (index_t c = 0; c < C; ++c) {
        if (permutation == Permutation::reverse) W[c * C + C - 1 - c] = 1;
        if (permutation == Permutation::shuffle)
            W[c * C + static_cast<index_t>(harness.tensor("step/shuffle/indices")[c])] = 1;
    }
    if (permutation != Permutation::invconv_lu) return W;
    std::vector<double> L(W.size(), 0.0), U(W.size(), 0.0), LU(W.size(), 0.0);
    for (index_t r = 0; r < C; ++r) {
        for (index_t c = 0; c < r; ++c) L[r * C + c] = harness.tensor("step/invconv/lower")[r * C + c];
        L[r * C + r] = 1;
        U[r * C + r] =
            harness.tensor("step/invconv/sign")[r] * std::exp(harness.tensor("step/invconv/log_diag")[r]);
        for (index_t c = r + 1; c < C; ++c) U[r * C + c] = harness.tensor("step/invconv/upper")[r * C + c];
    }
    for (index_t r = 0; r < C; ++r)
        for (index_t k = 0; k < C; ++k)
            for (index_t c = 0; c < C; ++c) LU[r * C + c] += L[r * C + k] * U[k * C + c];
    for (index_t r = 0; r < C; ++r)  // row r of P picks row permutation[r] of LU
        std::copy_n(LU.begin() + static_cast<index_t>(harness.tensor("step/invconv/permutation")[r]) * C, C,
                    W.begin() + r * C);
    return W;
}

// Reference: y_o = sum_i W[o,i] (x_i + b_i) exp(3 logs_i).
TEST_P(ActnormMixingTest, MatchesSpecification) {
    for (const index_t C : {1, 4, 7}) {
        MixingHarness harness(2, {2, 3, C}, GetParam());
        harness.loss();
        const real* const bias = harness.tensor("step/actnorm/bias");
        const real* const logs = harness.tensor("step/actnorm/logs");
        const std::vector<double> W = specified_weight(harness, GetParam(), C);
        for (index_t row = 0; row < 12; ++row)
            for (index_t o = 0; o < C; ++o) {
                double y = 0;
                for (index_t i = 0; i < C; ++i)
                    y += W[o * C + i] * (harness.x[row * C + i] + bias[i]) * std::exp(3 * logs[i]);
                EXPECT_NEAR(harness.h[row * C + o], y, 1e-14 * (1 + std::abs(y)));
            }
    }
}

// Deriving steps together gives the same values as one by one.
TEST_P(ActnormMixingTest, BatchedEqualsIndividual) {
    const index_t K = 3, C = 6;
    Machine machine;
    Parameters parameters;
    std::vector<std::unique_ptr<ActnormMixing>> layers;
    std::vector<ActnormMixing*> steps;
    for (index_t k = 0; k < K; ++k) {
        layers.push_back(std::make_unique<ActnormMixing>(Shape{2, 2, C}, GetParam(),
                                                         "step" + std::to_string(k), parameters));
        parameters.add("between" + std::to_string(k), {5}, Init::zeros);  // like the tensors of a coupling
        steps.push_back(layers.back().get());
    }
    const Values values(parameters, machine.backend.solver(), 5);
    std::vector<double> conditions(K), one_by_one(K);
    ActnormMixing::allocate(steps, machine.derived, conditions.data());
    ActnormMixing::derive(machine.context, steps);
    const MixingValues& first = layers[0]->values();
    const auto all = [&] {
        std::vector<double> copy(first.M, first.M + K * C * C);
        copy.insert(copy.end(), first.M_inverse, first.M_inverse + K * C * C);
        copy.insert(copy.end(), first.W_inverse, first.W_inverse + K * C * C);
        copy.insert(copy.end(), first.shift, first.shift + K * C);
        copy.insert(copy.end(), first.minus_bias, first.minus_bias + K * C);
        copy.insert(copy.end(), first.mixing_logdet, first.mixing_logdet + K);
        copy.insert(copy.end(), first.actnorm_logdet, first.actnorm_logdet + K);
        copy.insert(copy.end(), conditions.begin(), conditions.end());
        return copy;
    };
    const std::vector<double> together = all();
    std::fill(first.M, first.M + K * C * C, -7.0);
    for (index_t k = K; k-- > 0;) ActnormMixing::derive(machine.context, {&steps[k], 1});
    EXPECT_EQ(all(), together);
}

TEST(ActnormMixing, GradientsMatchDifferencesAcrossRowBlocks) {
    MixingHarness(3, {64, 48, 2}).expect_correct_gradients();  // 9216 rows; a block is 8192
}

double condition_with(Permutation permutation, const std::string& name, index_t first, index_t count,
                      double value) {
    MixingHarness harness(1, {2, 2, 4}, permutation);
    for (const Tensor& tensor : harness.parameters.tensors())
        if (tensor.name == name)
            for (index_t i = first; i < first + count; ++i)
                harness.values.value[tensor.offset + i] = static_cast<real>(value);
    harness.derive();
    return harness.condition;
}

TEST(ActnormMixing, DeriveReportsUnusableLayer) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (const Permutation permutation :
         {Permutation::invconv, Permutation::invconv_lu, Permutation::shuffle, Permutation::reverse}) {
        const auto condition = [&](const std::string& name, index_t first, index_t count, double value) {
            return condition_with(permutation, name, first, count, value);
        };
        EXPECT_TRUE(std::isfinite(condition("", 0, 0, 0)));
        EXPECT_GE(condition("", 0, 0, 0), 1);
        EXPECT_TRUE(std::isinf(condition("step/actnorm/logs", 2, 1, nan)));
        EXPECT_TRUE(std::isinf(condition("step/actnorm/bias", 2, 1, nan)));
        EXPECT_TRUE(std::isinf(condition("step/actnorm/bias", 0, 1, HUGE_VAL)));
        EXPECT_TRUE(std::isinf(condition("step/actnorm/logs", 1, 1, 1000)));
        EXPECT_TRUE(std::isinf(condition("step/actnorm/logs", 1, 1, -1000)));
    }
    const Permutation plain = Permutation::invconv, lu = Permutation::invconv_lu;
    EXPECT_TRUE(std::isinf(condition_with(plain, "step/invconv/weight", 0, 4, 0)));  // a row of zeros
    EXPECT_TRUE(std::isinf(condition_with(plain, "step/invconv/weight", 5, 1, nan)));
    EXPECT_TRUE(std::isinf(condition_with(lu, "step/invconv/log_diag", 1, 1, -100)));  // nearly singular
    EXPECT_TRUE(std::isinf(condition_with(lu, "step/invconv/log_diag", 1, 1, nan)));
    EXPECT_TRUE(std::isinf(condition_with(lu, "step/invconv/lower", 4, 1, nan)));
    EXPECT_TRUE(std::isinf(condition_with(lu, "step/invconv/upper", 1, 1, HUGE_VAL)));
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

#include "layers/prior.h"

#include <limits>
#include <tuple>

#include "tests/layers/direct_network.h"
#include "tests/layers/fixture.h"
#include "tests/layers/gradient_check.h"

namespace glow::inline GLOW_REAL {
namespace {

struct ConfigOf : ModelConfig {
    ConfigOf(bool learn, bool edge, index_t classes) {
        learn_top = learn;
        edge_bias = edge;
        y_cond = classes > 0;
        n_classes = classes;
    }
};

// Adapter: the top prior is not an invertible layer. It only reads z and sets its gradient.
struct PriorHarness {
    PriorHarness(bool learn, bool edge, index_t classes, index_t N, const Shape& shape)
        : top(ConfigOf(learn, edge, classes), shape, parameters),
          values(parameters, machine.backend.solver(), 5),
          z(Random(6).normals(N * shape.size())),
          dz(z.size(), std::numeric_limits<real>::quiet_NaN()),
          prior(N),
          labels(N),
          flow{N, z.data(), nullptr, prior.data(), labels.data()} {
        // Some classes twice, some never.
        for (index_t n = 0; n < N; ++n)
            labels[n] = classes > 0 ? static_cast<std::int32_t>(n * n % classes) : -1;
        top.allocate(machine.derived);
    }
    double loss() {
        top.derive(machine.context);
        std::fill(prior.begin(), prior.end(), 0.0);
        top.forward(machine.context, flow);
        return -0.7 * sum(prior);
    }
    void backward() {
        Gradient gradient{dz.data(), -0.7, 0, {values.gradient.data()}};
        top.backward(machine.context, flow, gradient);
    }

    Machine machine;
    Parameters parameters;
    TopPrior top;
    Values values;
    std::vector<double> z;
    std::vector<real> dz;
    std::vector<double> prior;
    std::vector<std::int32_t> labels;
    Flow flow;
};

class TopPriorTest : public testing::TestWithParam<std::tuple<bool, bool, index_t>> {};
INSTANTIATE_TEST_SUITE_P(LearnEdgeClasses, TopPriorTest,
                         testing::Combine(testing::Bool(), testing::Bool(), testing::Values(0, 1, 4)));

TEST_P(TopPriorTest, GradientsMatchDifferences) {
    const auto [learn, edge, classes] = GetParam();
    for (const Shape& shape : {Shape{4, 3, 4}, Shape{1, 1, 2}, Shape{1, 4, 6}}) {
        PriorHarness harness(learn, edge, classes, 3, shape);
        EXPECT_EQ(harness.parameters.tensors().size(), (learn ? 2u + edge : 0u) + (classes > 0 ? 3u : 0u));
        harness.loss();
        harness.backward();
        std::vector<Block> blocks = parameter_blocks(harness.parameters, harness.values.gradient);
        blocks.push_back({"z", harness.z.data(), harness.dz.data(), 3 * shape.size()});
        check_gradients(blocks, [&] { return harness.loss(); });
    }
}

TEST_P(TopPriorTest, GradientsAccumulateOverCalls) {
    const auto [learn, edge, classes] = GetParam();
    PriorHarness harness(learn, edge, classes, 3, {4, 3, 4});
    harness.loss();
    harness.backward();
    const std::vector<double> once = harness.values.gradient, dz = harness.dz;
    harness.backward();
    EXPECT_EQ(harness.dz, dz);
    for (std::size_t i = 0; i < once.size(); ++i)
        ASSERT_NEAR(harness.values.gradient[i], 2 * once[i], 1e-13 * 100);
}

TEST_P(TopPriorTest, MatchesSpecification) {
    const auto [learn, edge, classes] = GetParam();
    const Shape shape{4, 3, 4};
    const index_t N = 3, C = shape.C;
    PriorHarness harness(learn, edge, classes, N, shape);
    harness.loss();
    // [H*W, 2C]; only the edge channel has weights.
    std::vector<double> map(shape.pixels() * 2 * C, 0.0);
    if (learn && edge)
        map = direct_convolution(shape, 1, 3, true, 0, 2 * C, nullptr, 0,
                                 tensor_values(harness.parameters, "prior/top/weight"));
    if (learn)
        for (std::size_t i = 0; i < map.size(); ++i)
            map[i] = (map[i] + tensor_values(harness.parameters, "prior/top/bias")[i % (2 * C)]) *
                     std::exp(3 * tensor_values(harness.parameters, "prior/top/logs")[i % (2 * C)]);
    std::vector<double> expected(N, 0.0), eps(harness.z.size());
    // Added at every pixel for the image's class: (Wc[y] + bias) exp(3 logs).
    const auto added = [&, classes = classes](index_t n, index_t j) {
        if (classes == 0) return 0.0;
        return (tensor_values(harness.parameters, "prior/class/weight")[harness.labels[n] * 2 * C + j] +
                tensor_values(harness.parameters, "prior/class/bias")[j]) *
               std::exp(3 * tensor_values(harness.parameters, "prior/class/logs")[j]);
    };
    for (index_t row = 0; row < N * shape.pixels(); ++row)
        for (index_t c = 0; c < C; ++c) {
            const index_t n = row / shape.pixels();
            const double* const at = &map[row % shape.pixels() * 2 * C];
            const double mean = at[c] + added(n, c), logs = at[C + c] + added(n, C + c);
            const double e = (harness.z[row * C + c] - mean) * std::exp(-logs);
            eps[row * C + c] = e;
            expected[n] += -0.5 * std::log(2 * M_PI) - logs - 0.5 * e * e;
        }
    EXPECT_LE(largest_difference(harness.prior, expected), 1e-12);  // 48 terms
    const std::vector<double> z = harness.z;
    harness.top.encode(harness.machine.context, harness.flow);
    EXPECT_LE(largest_difference(harness.z, eps), 1e-12);
    harness.top.decode(harness.machine.context, harness.flow);
    EXPECT_LE(largest_difference(harness.z, z), 1e-12);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

#include "layers/dequantizer.h"

#include <numeric>

#include "kernels/reduce.h"
#include "tests/layers/gradient_check.h"

namespace glow::inline GLOW_REAL {
namespace {

ModelConfig dequantizer_config(index_t height, index_t width, index_t channels, bool edge) {
    ModelConfig config;
    config.image_height = height;
    config.image_width = width;
    config.channels = channels;
    config.n_bits = 5;
    config.levels = 1;
    config.edge_bias = edge;
    config.dequant_depth = 2;
    config.dequant_width = 5;
    return config;
}

// A dequantizer with random parameters, and a loss <g, x> + dlogp * sum of -log q.
struct DequantizerHarness {
    explicit DequantizerHarness(const ModelConfig& config, index_t N = 3, index_t tile = 2)
        : D(config.dimensions()),
          N(N),
          n_bits(config.n_bits),
          dequantizer(config, Precision::fp32, tile, parameters),
          values(parameters, machine.backend.solver(), 3),
          pixels(Random(4).integers<std::uint8_t>(N * D, 0, 255)),
          g(Random(5).normals(N * D)),
          h(N * D),
          logits(N * D),
          logdet(N),
          minus_log_q(N),
          difference(N),
          conditions(config.dequant_depth),
          items(N) {
        std::iota(items.begin(), items.end(), 7);
        dequantizer.allocate(machine.derived, conditions.data());
    }

    Pixels image() const { return {N, D, n_bits, pixels.data()}; }
    Noise noise() const { return {Dequantization::variational, 11, Purpose::dequantize, items.data()}; }
    Flow flow() { return {.N = N, .h = h.data(), .logdet = logdet.data()}; }

    double loss() {
        dequantizer.start_deriving(machine.context);
        dequantizer.finish_deriving(machine.context);
        Flow to = flow();
        dequantizer.forward(machine.context, image(), noise(), to, minus_log_q.data(), logits.data());
        EXPECT_EQ(to.minus_log_q, minus_log_q.data());
        long double total = dlogp * sum(minus_log_q);
        for (std::size_t i = 0; i < h.size(); ++i) total += g[i] * h[i];
        return static_cast<double>(total);
    }
    void backward() {
        std::vector<real> dh = g;
        Flow at = flow();
        const Gradient gradient{dh.data(), dlogp, 0, {values.gradient.data()}};
        dequantizer.backward(machine.context, image(), noise(), at, logits.data(), gradient,
                             difference.data());
    }

    Machine machine;
    index_t D, N;
    int n_bits;
    Parameters parameters;
    Dequantizer dequantizer;
    Values values;
    double dlogp = -0.7;
    std::vector<std::uint8_t> pixels;
    std::vector<double> g, h, logits, logdet, minus_log_q, difference, conditions;
    std::vector<std::uint64_t> items;
};

TEST(Dequantizer, GradientsMatchDifferences) {
    for (const bool edge : {false, true}) {
        DequantizerHarness harness(dequantizer_config(4, 6, 3, edge));
        harness.loss();
        harness.backward();
        check_gradients(parameter_blocks(harness.parameters, harness.values.gradient),
                        [&] { return harness.loss(); });
    }
}

TEST(Dequantizer, NoiseStaysInTheBin) {
    DequantizerHarness harness(dequantizer_config(4, 6, 3, true));
    harness.loss();
    for (std::size_t i = 0; i < harness.h.size(); ++i) {
        const double u = (harness.h[i] + 0.5) * 32 - (harness.pixels[i] >> 3);
        ASSERT_GT(u, 0);
        ASSERT_LT(u, 1);
        ASSERT_NEAR(u, 1 / (1 + std::exp(-harness.logits[i])), 1e-13);
    }
}

// Backward ends at the numbers that forward drew, and says how far off the images and these numbers are.
TEST(Dequantizer, BackwardReconstructsEps) {
    DequantizerHarness harness(dequantizer_config(4, 4, 2, true));
    harness.loss();
    harness.backward();
    for (index_t n = 0; n < harness.N; ++n) {
        for (index_t i = 0; i < harness.D; i += 2) {
            const PhiloxWords words = philox_block(11, Purpose::dequantize, harness.items[n], i / 4);
            const NormalPair pair = philox_normal(words.word[i % 4], words.word[i % 4 + 1]);
            ASSERT_NEAR(harness.h[n * harness.D + i], pair.first, 1e-12);
            ASSERT_NEAR(harness.h[n * harness.D + i + 1], pair.second, 1e-12);
        }
        EXPECT_LE(harness.difference[n], 1e-12);
        EXPECT_GT(harness.difference[n], 0);
    }
    harness.loss();
    harness.h[harness.D + 1] += 1e-3;
    harness.backward();
    EXPECT_LE(harness.difference[0], 1e-12);
    EXPECT_NEAR(harness.difference[1], 1e-3, 1e-9);
    harness.loss();
    harness.logits[3] += 1e-2;  // as if the flow of the numbers drifted
    harness.h[3] = (harness.pixels[3] / 8 + 1 / (1 + std::exp(-harness.logits[3]))) / 32 - 0.5;
    harness.backward();
    EXPECT_GT(harness.difference[0], 1e-4);
    EXPECT_LE(harness.difference[1], 1e-12);
}

TEST(Dequantizer, GradientsAccumulate) {
    DequantizerHarness harness(dequantizer_config(4, 4, 1, true));
    harness.loss();
    harness.backward();
    const std::vector<double> once = harness.values.gradient;
    harness.loss();
    harness.backward();
    for (std::size_t i = 0; i < once.size(); ++i)
        ASSERT_NEAR(harness.values.gradient[i], 2 * once[i], 1e-12 * (1 + std::abs(once[i])));
}

// After initialization the couplings and features are neutral, and the noise is about uniform: log q is near
// 0.
TEST(Dequantizer, StartsNearUniformNoise) {
    DequantizerHarness harness(dequantizer_config(16, 16, 3, true), 4, 0);
    harness.parameters.initialize(2, harness.machine.backend.solver());
    Flow flow = harness.flow();
    harness.dequantizer.initialize(harness.machine.context, harness.image(), harness.noise(), flow,
                                   harness.minus_log_q.data());
    const std::vector<double> h = harness.h, minus_log_q = harness.minus_log_q;
    harness.loss();
    EXPECT_LE(largest_difference(harness.h, h), 1e-12);
    EXPECT_LE(largest_difference(harness.minus_log_q, minus_log_q), 1e-9);
    const double bits = sum(minus_log_q) / (4 * 768 * std::log(2.0));
    EXPECT_NEAR(bits, -0.02, 0.02);
    // A normal number of deviation 1 in place of 1.75 costs 0.28 bits.
}

// So that a comparison of models with and without it starts from equal weights.
TEST(Dequantizer, LeavesTheInitialWeightsOfTheFlowAlone) {
    for (const Permutation permutation : {Permutation::invconv, Permutation::invconv_lu}) {
        ModelConfig config = dequantizer_config(8, 8, 3, true);
        config.levels = 2;
        config.depth = 2;
        config.width = 6;
        config.permutation = permutation;
        Glow with(config, {});
        config.dequant_depth = 0;
        Glow without(config, {});
        const std::unique_ptr<Solver> solver = make_cpu_solver();
        std::vector<real> values[2], fixed[2];
        const auto start = [&](Glow& glow, int i) {
            Parameters& parameters = glow.parameters();
            values[i].resize(parameters.size());
            fixed[i].resize(parameters.fixed_size());
            parameters.bind(values[i].data());
            parameters.bind_fixed(fixed[i].data());
            parameters.initialize(5, *solver);
        };
        start(with, 0);
        start(without, 1);
        const auto added = static_cast<std::ptrdiff_t>(values[0].size() - values[1].size());
        ASSERT_GT(added, 0);
        EXPECT_TRUE(std::equal(values[1].begin(), values[1].end(), values[0].begin() + added));
        EXPECT_NE(std::vector<real>(values[0].begin(), values[0].begin() + added), std::vector<real>(added));
        EXPECT_EQ(fixed[0], fixed[1]);
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

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
struct AloneDequantizer {
    explicit AloneDequantizer(const ModelConfig& config, index_t N = 3, index_t tile = 2)
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
        AloneDequantizer alone(dequantizer_config(4, 6, 3, edge));
        alone.loss();
        alone.backward();
        check_gradients(parameter_blocks(alone.parameters, alone.values.gradient),
                        [&] { return alone.loss(); });
    }
}

TEST(Dequantizer, NoiseStaysInTheBin) {
    AloneDequantizer alone(dequantizer_config(4, 6, 3, true));
    alone.loss();
    for (std::size_t i = 0; i < alone.h.size(); ++i) {
        const double u = (alone.h[i] + 0.5) * 32 - (alone.pixels[i] >> 3);
        ASSERT_GT(u, 0);
        ASSERT_LT(u, 1);
        ASSERT_NEAR(u, 1 / (1 + std::exp(-alone.logits[i])), 1e-13);
    }
}

// Backward ends at the numbers that forward drew, and says how far off the images and these numbers are.
TEST(Dequantizer, BackwardRebuildsItsNumbers) {
    AloneDequantizer alone(dequantizer_config(4, 4, 2, true));
    alone.loss();
    alone.backward();
    for (index_t n = 0; n < alone.N; ++n) {
        for (index_t i = 0; i < alone.D; i += 2) {
            const PhiloxWords words = philox_block(11, Purpose::dequantize, alone.items[n], i / 4);
            const NormalPair pair = philox_normal(words.word[i % 4], words.word[i % 4 + 1]);
            ASSERT_NEAR(alone.h[n * alone.D + i], pair.first, 1e-12);
            ASSERT_NEAR(alone.h[n * alone.D + i + 1], pair.second, 1e-12);
        }
        EXPECT_LE(alone.difference[n], 1e-12);
        EXPECT_GT(alone.difference[n], 0);
    }
    alone.loss();
    alone.h[alone.D + 1] += 1e-3;
    alone.backward();
    EXPECT_LE(alone.difference[0], 1e-12);
    EXPECT_NEAR(alone.difference[1], 1e-3, 1e-9);
    alone.loss();
    alone.logits[3] += 1e-2;  // as if the flow of the numbers drifted
    alone.h[3] = (alone.pixels[3] / 8 + 1 / (1 + std::exp(-alone.logits[3]))) / 32 - 0.5;
    alone.backward();
    EXPECT_GT(alone.difference[0], 1e-4);
    EXPECT_LE(alone.difference[1], 1e-12);
}

TEST(Dequantizer, GradientsAccumulate) {
    AloneDequantizer alone(dequantizer_config(4, 4, 1, true));
    alone.loss();
    alone.backward();
    const std::vector<double> once = alone.values.gradient;
    alone.loss();
    alone.backward();
    for (std::size_t i = 0; i < once.size(); ++i)
        ASSERT_NEAR(alone.values.gradient[i], 2 * once[i], 1e-12 * (1 + std::abs(once[i])));
}

// After initialization the couplings and features are neutral, and the noise is about uniform: log q is near 0.
TEST(Dequantizer, StartsNearUniformNoise) {
    AloneDequantizer alone(dequantizer_config(16, 16, 3, true), 4, 0);
    alone.parameters.initialize(2, alone.machine.backend.solver());
    Flow flow = alone.flow();
    alone.dequantizer.initialize(alone.machine.context, alone.image(), alone.noise(), flow,
                                 alone.minus_log_q.data());
    const std::vector<double> h = alone.h, minus_log_q = alone.minus_log_q;
    alone.loss();
    EXPECT_LE(largest_difference(alone.h, h), 1e-12);
    EXPECT_LE(largest_difference(alone.minus_log_q, minus_log_q), 1e-9);
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

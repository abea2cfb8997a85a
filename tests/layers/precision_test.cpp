// Float and bf16 networks against double ones, and what must not affect results: repetition, tiles,
// neighboring images, saved activations.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "runtime/blas.h"
#include "tests/layers/whole_model_run.h"

namespace glow {
namespace {

using Numbers = std::vector<double>;

double dot(const Numbers& x, const Numbers& y) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
    return sum;
}
double cosine(const Numbers& x, const Numbers& y) {
    return dot(x, y) / std::sqrt(dot(x, x) * dot(y, y));
}
// |x - y| / |y|.
double relative_error(const Numbers& x, const Numbers& y) {
    EXPECT_EQ(x.size(), y.size());
    Numbers difference = x;
    for (std::size_t i = 0; i < y.size(); ++i) difference[i] -= y[i];
    return std::sqrt(dot(difference, difference) / dot(y, y));
}
double largest_difference(const Numbers& x, const Numbers& y) {
    double largest = x.size() == y.size() ? 0 : HUGE_VAL;
    for (std::size_t i = 0; i < x.size() && i < y.size(); ++i)
        if (!(std::abs(x[i] - y[i]) <= largest)) largest = std::abs(x[i] - y[i]);
    return largest;
}
Numbers all_gradients(const ModelResult& result) {
    Numbers all;
    for (const auto& tensor : result.tensors)
        all.insert(all.end(), tensor.gradient.begin(), tensor.gradient.end());
    return all;
}
void expect_same_bits(const ModelResult& x, const ModelResult& y) {
    EXPECT_EQ(x.latents, y.latents);
    EXPECT_EQ(x.rebuilt, y.rebuilt);
    EXPECT_EQ(x.logdet, y.logdet);
    EXPECT_EQ(x.prior, y.prior);
    EXPECT_EQ(x.dx, y.dx);
    for (std::size_t i = 0; i < x.tensors.size(); ++i)
        EXPECT_EQ(x.tensors[i].gradient, y.tensors[i].gradient) << x.tensors[i].name;
}

ModelCase small_case() {
    ModelCase probe;
    probe.config.image_height = 16;
    probe.config.image_width = 16;
    probe.config.levels = 3;
    probe.config.depth = 4;
    probe.config.width = 32;
    probe.N = 4;
    probe.tile = 3;
    return probe;
}

struct Variant {
    const char* name;
    CouplingKind coupling;
    bool edge, learn_top;
    index_t channels, width;
    CouplingScale scale = CouplingScale::sigmoid;
};

constexpr double kStateError = 2e-6, kDensityError = 2e-5, kGradientError = 2e-5;

class FloatTest : public testing::TestWithParam<Variant> {
  protected:
    ModelCase probe() const {
        ModelCase probe = small_case();
        probe.config.coupling = GetParam().coupling;
        probe.config.coupling_scale = GetParam().scale;
        probe.config.edge_bias = GetParam().edge;
        probe.config.learn_top = GetParam().learn_top;
        probe.config.channels = GetParam().channels;
        probe.config.width = GetParam().width;
        return probe;
    }
};
INSTANTIATE_TEST_SUITE_P(
    Variants, FloatTest,
    testing::Values(Variant{"default", CouplingKind::affine, true, true, 3, 32},
                    Variant{"bounded_scale", CouplingKind::affine, true, true, 3, 32, CouplingScale::tanh},
                    Variant{"additive_odd_width", CouplingKind::additive, true, true, 1, 27},
                    Variant{"bare", CouplingKind::affine, false, false, 2, 16}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_P(FloatTest, MatchesDoubleToFloatPrecision) {
    const ModelResult narrow = run_model_f32(probe()), wide = run_model_f64(probe());
    // 12 steps, each adding a float network's relative error of about 1e-7 to the state: 2e-7 was observed,
    // up to 2e-6 in derived values. Ten times that is allowed.
    EXPECT_LE(relative_error(narrow.latents, wide.latents), kStateError);
    EXPECT_LE(relative_error(narrow.logdet, wide.logdet), kDensityError);
    EXPECT_LE(relative_error(narrow.prior, wide.prior), kDensityError);
    EXPECT_LE(relative_error(narrow.dx, wide.dx), kGradientError);
    ASSERT_EQ(narrow.tensors.size(), wide.tensors.size());
    double worst = 0;
    std::string where;
    for (std::size_t i = 0; i < wide.tensors.size(); ++i) {
        ASSERT_EQ(narrow.tensors[i].name, wide.tensors[i].name);
        const double error = relative_error(narrow.tensors[i].gradient, wide.tensors[i].gradient);
        if (error > worst) where = wide.tensors[i].name;
        worst = std::max(worst, error);
    }
    std::printf("relative errors: latents %.1e, logdet %.1e, prior %.1e, dx %.1e; worst gradient %.1e (%s)\n",
                relative_error(narrow.latents, wide.latents), relative_error(narrow.logdet, wide.logdet),
                relative_error(narrow.prior, wide.prior), relative_error(narrow.dx, wide.dx), worst,
                where.c_str());
    // Occasionally a ReLU switches sides; tensors with canceling terms show it most.
    EXPECT_LE(worst, 2e-4);
    EXPECT_GE(cosine(all_gradients(narrow), all_gradients(wide)), 1 - 1e-8);
}

TEST_P(FloatTest, IsDeterministic) {
    expect_same_bits(run_model_f32(probe()), run_model_f32(probe()));
}

TEST_P(FloatTest, CheckpointAndStoreAreBitEqual) {
    ModelCase store = probe(), checkpoint = probe();
    store.anchor_every = checkpoint.anchor_every = 1;
    store.maps = true;
    expect_same_bits(run_model_f32(store), run_model_f32(checkpoint));
}

TEST_P(FloatTest, ReconstructMatchesCheckpointGradient) {
    ModelCase checkpoint = probe();
    checkpoint.anchor_every = 1;
    const ModelResult exact = run_model_f32(checkpoint);
    for (const index_t every : {0, 2, 16}) {
        ModelCase rebuilding = probe();
        rebuilding.anchor_every = every;
        const ModelResult rebuilt = run_model_f32(rebuilding);
        EXPECT_EQ(rebuilt.latents, exact.latents);
        EXPECT_LE(largest_difference(rebuilt.rebuilt, exact.rebuilt),
                  1e-5);  // drift from a flipped float rounding
        EXPECT_GE(cosine(all_gradients(rebuilt), all_gradients(exact)), 1 - 1e-8);
        EXPECT_LE(relative_error(rebuilt.dx, exact.dx), 1e-4);
    }
}

TEST_P(FloatTest, TilesAndThreadsChangeOnlyRounding) {
    const ModelResult reference = run_model_f64(probe());
    for (const index_t tile : {1, 2, 0})
        for (const int threads : {1, 3}) {
            ModelCase other = probe();
            other.tile = tile;
            other.threads = threads;
            const ModelResult narrow = run_model_f32(other), wide = run_model_f64(other);
            EXPECT_LE(relative_error(narrow.latents, reference.latents), kStateError);
            EXPECT_LE(relative_error(narrow.dx, reference.dx), kGradientError);
            EXPECT_GE(cosine(all_gradients(narrow), all_gradients(reference)), 1 - 1e-8);
            EXPECT_LE(relative_error(wide.latents, reference.latents), 1e-13);
            EXPECT_LE(relative_error(wide.dx, reference.dx), 1e-12);
            EXPECT_LE(relative_error(all_gradients(wide), all_gradients(reference)), 1e-12);
        }
}

TEST_P(FloatTest, ImagesAreIndependent) {
    const ModelCase together = probe();
    const ModelResult all = run_model_f32(together);
    const index_t D = together.config.dimensions();
    for (index_t n = 0; n < together.N; ++n) {
        ModelCase alone = together;
        alone.N = 1;
        alone.first = n;
        const ModelResult one = run_model_f32(alone);
        EXPECT_NEAR(one.logdet[0], all.logdet[n], kDensityError * std::abs(all.logdet[n]));
        EXPECT_NEAR(one.prior[0], all.prior[n], kDensityError * std::abs(all.prior[n]));
        EXPECT_LE(relative_error(one.dx, Numbers(all.dx.begin() + n * D, all.dx.begin() + (n + 1) * D)),
                  kGradientError);
    }
}

class Bf16Test : public testing::Test {
  protected:
    void SetUp() override {
        if (!make_cpu_blas(1)->has_bf16())
            GTEST_SKIP() << "no bf16 products on this machine or in this build";
    }
    static ModelCase probe() {
        ModelCase probe = small_case();
        probe.precision = Precision::bf16;
        return probe;
    }
};

TEST_F(Bf16Test, IsDeterministic) {
    expect_same_bits(run_model_f32(probe()), run_model_f32(probe()));
}

TEST_F(Bf16Test, CheckpointAndStoreAreBitEqual) {
    ModelCase store = probe(), checkpoint = probe();
    store.anchor_every = checkpoint.anchor_every = 1;
    store.maps = true;
    expect_same_bits(run_model_f32(store), run_model_f32(checkpoint));
}

TEST_F(Bf16Test, GradientAlignsWithDouble) {
    for (const CouplingKind kind : {CouplingKind::affine, CouplingKind::additive}) {
        ModelCase narrow_case = probe(), wide_case = small_case();
        narrow_case.config.coupling = wide_case.config.coupling = kind;
        const ModelResult narrow = run_model_f32(narrow_case), wide = run_model_f64(wide_case);
        // bf16 has 8 bits: 4e-3 per rounding.
        EXPECT_LE(relative_error(narrow.latents, wide.latents), 0.05);
        EXPECT_LE(relative_error(narrow.logdet, wide.logdet), 0.01);
        EXPECT_GE(cosine(narrow.dx, wide.dx), 0.999);
        EXPECT_GE(cosine(all_gradients(narrow), all_gradients(wide)), 0.999);
        std::printf("bf16: latents %.1e, logdet %.1e, cosine of the gradient %.6f\n",
                    relative_error(narrow.latents, wide.latents), relative_error(narrow.logdet, wide.logdet),
                    cosine(all_gradients(narrow), all_gradients(wide)));
    }
}

}  // namespace
}  // namespace glow

#include "layers/glow.h"

#include <tuple>

#include "tests/layers/gradient_check.h"
#include "tests/layers/model.h"

namespace glow::inline GLOW_REAL {
namespace {

struct Variant {
    const char* name;
    index_t width;
    bool affine = true, edge = true, learn_top = true;
    Permutation permutation = Permutation::invconv;
    index_t classes = 0;
    double weight_y = 0;
    CouplingScale scale = CouplingScale::sigmoid;
};

class GlowVariant : public testing::TestWithParam<Variant> {
  protected:
    ModelConfig config(index_t image_height, index_t image_width, index_t channels) const {
        ModelConfig config = make_config(image_height, image_width, channels, 2, 2, GetParam().width);
        config.coupling = GetParam().affine ? CouplingKind::affine : CouplingKind::additive;
        config.coupling_scale = GetParam().scale;
        config.edge_bias = GetParam().edge;
        config.learn_top = GetParam().learn_top;
        config.permutation = GetParam().permutation;
        config.y_cond = GetParam().classes > 0;
        config.n_classes = GetParam().classes;
        config.weight_y = GetParam().weight_y;
        return config;
    }
};
INSTANTIATE_TEST_SUITE_P(
    Variants, GlowVariant,
    testing::Values(Variant{"default", 7}, Variant{.name = "additive", .width = 8, .affine = false},
                    Variant{.name = "bounded_scale", .width = 6, .scale = CouplingScale::tanh},
                    Variant{.name = "no_edge", .width = 6, .edge = false},
                    Variant{.name = "no_learn_top", .width = 8, .learn_top = false},
                    Variant{"additive_bare", 6, false, false, false},
                    Variant{.name = "lu", .width = 6, .permutation = Permutation::invconv_lu},
                    Variant{.name = "shuffle", .width = 6, .permutation = Permutation::shuffle},
                    Variant{"reverse_additive", 6, false, true, true, Permutation::reverse},
                    Variant{.name = "conditional", .width = 6, .classes = 3},
                    Variant{.name = "classifier", .width = 6, .classes = 4, .weight_y = 0.5},
                    Variant{"lu_bare_classifier", 6, false, false, false, Permutation::invconv_lu, 2, 0.01}),
    [](const auto& info) { return std::string(info.param.name); });

void expect_correct_gradients(const ModelConfig& config, index_t N, index_t tile) {
    const double dlogp = -0.7;
    Model model(config, N, {Precision::fp32, tile});
    model.run({}, dlogp);
    EXPECT_LE(largest_difference(model.h, model.x), 1e-12);  // some hundred roundings
    std::vector<Block> blocks = parameter_blocks(model.glow.parameters(), model.values.gradient);
    blocks.push_back({"x", model.x.data(), model.dh.data(), static_cast<index_t>(model.x.size())});
    check_gradients(blocks, [&] {
        model.prepare();
        return model.loss(dlogp);
    });
}

#if !defined(__SANITIZE_ADDRESS__)  // hundreds of evaluations of code that the tests below run too
TEST_P(GlowVariant, GradientsMatchDifferences) {
    expect_correct_gradients(config(8, 8, 3), 3, 2);
}
#endif

TEST_P(GlowVariant, GradientsMatchDifferencesOnNarrowImages) {
    expect_correct_gradients(config(8, 4, 1), 3, 2);
}

TEST_P(GlowVariant, GradientsOfLatentsMatchDifferences) {
    Model model(config(8, 4, 1), 3, {Precision::fp32, 2});
    const std::vector<double> weights = Random(5).normals(static_cast<index_t>(model.x.size()));
    SavedActivations saved(model.machine.stored, {});
    model.forward(&saved);
    model.dh = weights;
    Gradient gradient{.dh = model.dh.data(), .parameters = {model.values.gradient.data()}, .from_eps = true};
    model.glow.backward(model.machine.context, model.flow, gradient, saved);
    EXPECT_LE(largest_difference(model.h, model.x), 1e-12);
    check_gradients({{"x", model.x.data(), model.dh.data(), static_cast<index_t>(model.x.size())}}, [&] {
        model.h = model.x;
        model.glow.encode(model.machine.context, model.flow);
        double product = 0;
        for (std::size_t i = 0; i < weights.size(); ++i) product += weights[i] * model.h[i];
        return product;
    });
}

TEST_P(GlowVariant, GradientsAccumulate) {
    Model model(config(8, 8, 3), 2);
    model.run({});
    const std::vector<double> once = model.values.gradient, dx = model.dh;
    {
        SavedActivations saved(model.machine.stored, {});
        model.forward(&saved);
        model.backward(saved, -0.7);
    }
    EXPECT_EQ(model.dh, dx);
    for (std::size_t i = 0; i < once.size(); ++i)
        ASSERT_NEAR(model.values.gradient[i], 2 * once[i], 1e-11 * (1 + std::abs(once[i])));
}

// Memory policies: `checkpoint` and `store` are bit-equal; `reconstruct` and anchors agree up to drift.
TEST_P(GlowVariant, SavingMoreChangesNothing) {
    ModelConfig deep = config(8, 8, 3);
    deep.depth = 5;
    Model model(deep, 3, {Precision::fp32, 2});
    model.run({1, true});
    const std::vector<double> gradient = model.values.gradient, dx = model.dh, x = model.h;
    const double logp = sum(model.logdet) + sum(model.prior);
    model.run({1, false});
    EXPECT_EQ(model.values.gradient, gradient);
    EXPECT_EQ(model.dh, dx);
    EXPECT_EQ(model.h, x);
    for (const index_t every : {0, 2, 3, 16}) {
        model.run({every, false});
        EXPECT_EQ(sum(model.logdet) + sum(model.prior), logp);
        // Reconstructed states have errors of 1e-14; gradients are sums of about a thousand terms.
        EXPECT_LE(largest_difference(model.h, model.x), 1e-12);
        EXPECT_LE(largest_difference(model.dh, dx), 1e-11);
        for (std::size_t i = 0; i < gradient.size(); ++i)
            ASSERT_NEAR(model.values.gradient[i], gradient[i], 1e-10 * (1 + std::abs(gradient[i])));
    }
    EXPECT_EQ(model.machine.stored.used(), 0u);
    EXPECT_EQ(model.machine.workspace.used(), 0u);
}

TEST_P(GlowVariant, InverseReconstructsInput) {
    Model model(config(8, 8, 3), 3, {Precision::fp32, 2});
    model.forward();
    const std::vector<double> logdet = model.logdet;
    model.inverse();
    EXPECT_LE(largest_difference(model.h, model.x), 1e-12);
    EXPECT_EQ(model.logdet, logdet);
}

TEST_P(GlowVariant, ObservedForwardIsTheSame) {
    struct Recorder : LayerObserver {
        void after(const std::string& layer, const Flow& flow) override {
            layers.push_back(layer);
            logdet.assign(flow.logdet, flow.logdet + flow.N);
        }
        std::vector<std::string> layers;
        std::vector<double> logdet;  // after the last layer
    } recorder;
    Model model(config(8, 8, 3), 3, {Precision::fp32, 2});
    model.forward();
    const std::vector<double> z = model.h, logdet = model.logdet, prior = model.prior;
    model.h = model.x;
    model.glow.forward(model.machine.context, model.flow, recorder);
    EXPECT_EQ(model.h, z);
    EXPECT_EQ(model.logdet, logdet);
    EXPECT_EQ(model.prior, prior);
    EXPECT_EQ(recorder.logdet, logdet);
    EXPECT_EQ(recorder.layers, model.glow.observed_layers());
    EXPECT_EQ(recorder.layers,
              (std::vector<std::string>{"level0/step0/mixing", "level0/step0/coupling", "level0/step1/mixing",
                                        "level0/step1/coupling", "level0/split", "level1/step0/mixing",
                                        "level1/step0/coupling", "level1/step1/mixing",
                                        "level1/step1/coupling", "prior/top"}));
}

TEST_P(GlowVariant, EncodeDecodeAndDensityAgree) {
    Model model(config(8, 8, 3), 3, {Precision::fp32, 2});
    model.forward();
    const std::vector<double> logdet = model.logdet, prior = model.prior;
    model.h = model.x;
    model.glow.encode(model.machine.context, model.flow);
    EXPECT_EQ(model.logdet, logdet);
    EXPECT_EQ(model.prior, prior);
    model.glow.decode(model.machine.context, model.flow);
    EXPECT_LE(largest_difference(model.h, model.x), 1e-12);
}

TEST_P(GlowVariant, TilesChangeOnlyRounding) {
    Model whole(config(8, 8, 3), 5, {Precision::fp32, 5});
    whole.run({});
    for (const index_t tile : {1, 2, 3}) {
        Model tiled(config(8, 8, 3), 5, {Precision::fp32, tile});
        tiled.run({});
        EXPECT_LE(largest_difference(tiled.logdet, whole.logdet), 1e-11);
        EXPECT_LE(largest_difference(tiled.prior, whole.prior), 1e-10);
        EXPECT_LE(largest_difference(tiled.dh, whole.dh), 1e-11);
        for (std::size_t i = 0; i < whole.values.gradient.size(); ++i)
            ASSERT_NEAR(tiled.values.gradient[i], whole.values.gradient[i],
                        1e-10 * (1 + std::abs(whole.values.gradient[i])));
    }
}

TEST_P(GlowVariant, ImagesAreIndependent) {
    const ModelConfig small = config(8, 8, 3);
    const index_t D = small.dimensions();
    Model all(small, 3), one(small, 1);
    all.forward();
    for (index_t n = 0; n < 3; ++n) {
        one.x.assign(all.x.begin() + n * D, all.x.begin() + (n + 1) * D);
        one.labels[0] = all.labels[n];
        one.forward();
        EXPECT_NEAR(one.logdet[0], all.logdet[n], 1e-11);
        EXPECT_NEAR(one.prior[0], all.prior[n], 1e-10);
    }
}

TEST_P(GlowVariant, LogDeterminantMatchesJacobian) {
    const auto [height, width, channels, levels] = std::tuple<index_t, index_t, index_t, index_t>{4, 4, 1, 2};
    for (const index_t shallow : {false, true}) {
        ModelConfig tiny = config(height, width, channels);
        tiny.levels = levels;
        if (shallow) {
            tiny.image_height = tiny.image_width = tiny.channels = 2;
            tiny.levels = 1;
        }
        const index_t D = tiny.dimensions();
        Model model(tiny, 2);
        model.forward();
        const std::vector<double> logdet = model.logdet, prior = model.prior;
        model.h = model.x;
        model.glow.encode(model.machine.context, model.flow);
        const std::vector<double> eps = model.h;
        for (index_t n = 0; n < 2; ++n) {
            // Entries have errors of e^2 = 1e-10 times third derivatives; 256 of them, times the entries of
            // the inverse.
            EXPECT_NEAR(logdet[n],
                        jacobian_log_determinant(
                            model, n, D, [&] { model.glow.forward(model.machine.context, model.flow); }),
                        1e-6);
        }
        // The same density in terms of standard normal latents, summed over both images.
        double density = 0;
        for (const double e : eps) density += -0.5 * std::log(2 * M_PI) - 0.5 * e * e;
        for (index_t n = 0; n < 2; ++n)
            density += jacobian_log_determinant(
                model, n, D, [&] { model.glow.encode(model.machine.context, model.flow); });
        EXPECT_NEAR(sum(logdet) + sum(prior), density, 1e-6);
    }
}

TEST(Glow, LatentsAreDeepestFirst) {
    // With additive couplings, zero networks, W = 1 and identity actnorms, the flow only permutes.
    ModelConfig config = make_config(8, 8, 1, 3, 1, 4);
    config.coupling = CouplingKind::additive;
    Model model(config, 2);
    std::fill(model.values.value.begin(), model.values.value.end(), 0.0);
    for (const Tensor& tensor : model.glow.parameters().tensors())
        if (tensor.init == Init::orthogonal)
            for (index_t c = 0; c < tensor.shape[0]; ++c)
                model.values.value[tensor.offset + c * tensor.shape[0] + c] = 1;
    model.prepare();
    for (std::size_t i = 0; i < model.x.size(); ++i) model.x[i] = static_cast<double>(i);
    model.forward();
    // Sizes: top 2 x [1, 1, 16], then b of level 1, 2 x [2, 2, 4], then b of level 0, 2 x [4, 4, 2]. Squeezed
    // channels are c*4 + dy*2 + dx, so b of level 0 holds the odd rows (dy = 1) of the image.
    const auto& z = model.h;
    const index_t top = 2 * 16, middle = 2 * 16;
    for (index_t n = 0; n < 2; ++n)
        for (index_t y = 0; y < 4; ++y)
            for (index_t x = 0; x < 4; ++x)
                for (index_t dx = 0; dx < 2; ++dx)
                    EXPECT_EQ(z[top + middle + ((n * 4 + y) * 4 + x) * 2 + dx],
                              n * 64 + (2 * y + 1) * 8 + 2 * x + dx);
    // b of level 1: channels 4..7 of its squeeze, i.e. c = 1 (dx = 1 of level 0) of level 0's a half.
    for (index_t n = 0; n < 2; ++n)
        for (index_t y = 0; y < 2; ++y)
            for (index_t x = 0; x < 2; ++x)
                for (index_t k = 0; k < 4; ++k)
                    EXPECT_EQ(z[top + ((n * 2 + y) * 2 + x) * 4 + k],
                              n * 64 + 2 * (2 * y + k / 2) * 8 + 2 * (2 * x + k % 2) + 1);
    EXPECT_EQ(z[0], 0);
    EXPECT_EQ(z[16], 64);
}

TEST(Glow, BitsPerDimIncludesBins) {
    const ModelConfig config = make_config(8, 8, 3, 2, 1, 4);
    const Glow glow(config, {});
    const double D = 192;
    // log p = -D ln(256) + log_density.
    EXPECT_NEAR(glow.config().bits_per_dim(0), 8, 1e-14);
    EXPECT_NEAR(glow.config().bits_per_dim(D * std::log(256.0)), 0, 1e-14);
}

TEST(Glow, DeriveNamesBadLayer) {
    Model model(make_config(8, 8, 1, 2, 3, 4), 1);
    EXPECT_EQ(model.glow.derive_and_check(model.machine.context).bad_layer, "");
    for (const Tensor& tensor : model.glow.parameters().tensors())
        if (tensor.name == "level1/step1/invconv/weight")
            std::fill_n(model.values.value.begin() + tensor.offset, tensor.count, 0.0);
    const Glow::MixingCheck prepared = model.glow.derive_and_check(model.machine.context);
    EXPECT_EQ(prepared.bad_layer, "level1/step1");
    EXPECT_TRUE(std::isinf(prepared.max_condition));
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

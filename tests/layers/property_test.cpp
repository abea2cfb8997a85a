// Properties of the whole flow that hold for every shape and option, tested on random models in double.
#include <algorithm>

#include "tests/layers/gradient_check.h"
#include "tests/layers/model.h"
#include "tests/layers/random_model.h"

namespace glow::inline GLOW_REAL {
namespace {

// f(random model) for `count` of them.
template <class F>
void for_random_models(std::uint64_t first, int count, index_t most_dimensions, F f) {
    for (int i = 0; i < count; ++i) {
        const RandomModel drawn = random_model(first + static_cast<std::uint64_t>(i), most_dimensions);
        SCOPED_TRACE(drawn.describe());
        f(drawn);
    }
}

TEST(Property, RandomModelsCoverEveryOption) {
    bool seen[4][2] = {}, scale[2] = {}, edge[2] = {}, top[2] = {}, classifier[2] = {};
    for_random_models(0, 40, 500, [&](const RandomModel& drawn) {
        check(drawn.config);
        seen[static_cast<int>(drawn.config.permutation)][static_cast<int>(drawn.config.coupling)] = true;
        edge[drawn.config.edge_bias] = top[drawn.config.learn_top] = true;
        scale[static_cast<int>(drawn.config.coupling_scale)] = true;
        classifier[drawn.config.weight_y > 0] = true;
    });
    for (const auto& couplings : seen) EXPECT_TRUE(couplings[0] && couplings[1]);
    EXPECT_TRUE(scale[0] && scale[1] && edge[0] && edge[1] && top[0] && top[1] && classifier[0] &&
                classifier[1]);
}

TEST(Property, InverseAndDecodeReconstruct) {
    for_random_models(0, 40, 500, [](const RandomModel& drawn) {
        Model model(drawn.config, drawn.N, {Precision::fp32, drawn.tile});
        model.forward();
        const std::vector<double> logdet = model.logdet, prior = model.prior;
        // Up to 9 steps; each magnifies a rounding error of 1e-16 by its condition, typically 10, though
        // rarely many in a row.
        model.inverse();
        EXPECT_LE(largest_difference(model.h, model.x), 1e-11);
        model.h = model.x;
        model.glow.encode(model.machine.context, model.flow);
        EXPECT_EQ(model.logdet, logdet);
        EXPECT_EQ(model.prior, prior);
        model.glow.decode(model.machine.context, model.flow);
        EXPECT_LE(largest_difference(model.h, model.x), 1e-11);
    });
}

TEST(Property, LogDeterminantMatchesJacobian) {
    for_random_models(100, 16, 64, [](const RandomModel& drawn) {
        Model model(drawn.config, drawn.N, {Precision::fp32, drawn.tile});
        model.forward();
        const std::vector<double> logdet = model.logdet;
        const index_t D = drawn.config.dimensions(), n = drawn.N - 1;
        // Entries of the Jacobian have errors of 1e-10 times third derivatives; D of them, times the entries
        // of the inverse.
        EXPECT_NEAR(logdet[n],
                    jacobian_log_determinant(model, n, D,
                                             [&] { model.glow.forward(model.machine.context, model.flow); }),
                    1e-6);
    });
}

TEST(Property, GradientsMatchDifferences) {
    for_random_models(200, 24, 300, [](const RandomModel& drawn) {
        const double dlogp = -0.7;
        Model model(drawn.config, drawn.N, {Precision::fp32, drawn.tile});
        model.run(drawn.policy, dlogp);
        EXPECT_LE(largest_difference(model.h, model.x), 1e-11);  // as the inverse above
        // All parameters at once: a parameter that is wrong by 1% shows if it contributes 1e-4 of the
        // gradient.
        const Parameters& parameters = model.glow.parameters();
        const std::vector<Block> blocks = {
            {"parameters", parameters.values(), model.values.gradient.data(), parameters.size()},
            {"x", model.x.data(), model.dh.data(), static_cast<index_t>(model.x.size())}};
        check_gradients(blocks, [&] {
            model.prepare();
            return model.loss(dlogp);
        });
    });
}

TEST(Property, ImagesAreIndependent) {
    for_random_models(300, 40, 500, [](const RandomModel& drawn) {
        const index_t D = drawn.config.dimensions();
        Model all(drawn.config, drawn.N, {Precision::fp32, drawn.tile}), one(drawn.config, 1);
        all.forward();
        for (index_t n = 0; n < drawn.N; ++n) {
            one.x.assign(all.x.begin() + n * D, all.x.begin() + (n + 1) * D);
            one.labels[0] = all.labels[n];
            one.forward();
            // Sums of about a thousand terms of order one, in another order.
            EXPECT_NEAR(one.logdet[0], all.logdet[n], 1e-10);
            EXPECT_NEAR(one.prior[0], all.prior[n], 1e-9);
            if (!all.glow.has_classifier()) continue;
            EXPECT_NEAR(one.bits_y[0], all.bits_y[n], 1e-11);
            EXPECT_EQ(one.error_y[0], all.error_y[n]);
        }
    });
}

TEST(Property, BatchGradientIsSumOverImages) {
    for_random_models(400, 16, 300, [](const RandomModel& drawn) {
        const index_t D = drawn.config.dimensions();
        Model all(drawn.config, drawn.N, {Precision::fp32, drawn.tile}), one(drawn.config, 1);
        all.run(drawn.policy);
        std::vector<double> total(all.values.gradient.size());
        for (index_t n = 0; n < drawn.N; ++n) {
            one.x.assign(all.x.begin() + n * D, all.x.begin() + (n + 1) * D);
            one.labels[0] = all.labels[n];
            one.run(drawn.policy);
            for (std::size_t i = 0; i < total.size(); ++i) total[i] += one.values.gradient[i];
            EXPECT_LE(largest_difference(one.dh, {all.dh.begin() + n * D, all.dh.begin() + (n + 1) * D}),
                      1e-10);
        }
        for (std::size_t i = 0; i < total.size(); ++i)
            ASSERT_NEAR(total[i], all.values.gradient[i], 1e-9 * (1 + std::abs(total[i])));
    });
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

#include "kernels/optimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "kernels/math.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

// Reference: formulas of the specification in long double, one number at a time.
struct ScalarWeight {
    long double w, m = 0, v = 0, ema = 0;
    void step(const OptimizerStep& s, long double gradient) {
        const long double g = s.gradient_scale * gradient;
        m = s.beta1 * m + (1 - s.beta1) * g;
        v = s.adam ? s.beta2 * v + (1 - s.beta2) * g * g : std::max(s.beta2 * v, std::abs(g));
        w = (1 - s.weight_decay) * w - s.lr_t * m / ((s.adam ? std::sqrt(v) : v) + 1e-8L);
        ema += (w - ema) * s.ema_rate;
    }
};

class Optimizer : public testing::TestWithParam<std::tuple<bool, double, double>> {};

TEST_P(Optimizer, MatchesScalarFormulas) {
    const auto [adam, weight_decay, gradient_scale] = GetParam();
    const index_t count = 20000;  // enough for several threads
    const int steps = 20;
    const double lr = 1e-3, beta2 = 0.99, decay = 0.9;
    test::Random random(1);
    std::vector<real> w = random.normals<real>(count), m(count), v(count), ema(count);
    std::vector<ScalarWeight> scalar;
    for (const real value : w) scalar.push_back({value});
    std::vector<real> plain_w = w, plain_m = m, plain_v = v;
    for (int t = 1; t <= steps; ++t) {
        OptimizerStep step;
        step.adam = adam;
        step.beta2 = beta2;
        step.lr_t = lr * std::sqrt(1 - std::pow(beta2, t)) / (1 - std::pow(step.beta1, t));
        step.weight_decay = weight_decay;
        step.gradient_scale = gradient_scale;
        step.ema_rate = (1 - decay) / (1 - std::pow(decay, t));
        std::vector<real> g = random.normals<real>(count);
        g[0] = 0;  // a weight without gradient must not move
        optimizer_step(test::cpu(), count, step, g.data(),
                       OptimizerArrays{w.data(), m.data(), v.data(), ema.data()});
        optimizer_step(test::cpu(), count, step, g.data(),
                       OptimizerArrays{plain_w.data(), plain_m.data(), plain_v.data(), nullptr});
        for (index_t i = 0; i < count; ++i) scalar[i].step(step, g[i]);
        // Zero-debiased: after the first step the average is the weight itself.
        EXPECT_TRUE(t > 1 || ema == w);
    }
    EXPECT_EQ(plain_w, w);
    for (index_t i = 0; i < count; ++i) {
        // Each step rounds each number to float once: `steps` times half a unit of 6e-8.
        ASSERT_NEAR(w[i], static_cast<double>(scalar[i].w), 1e-6 * (1 + std::abs(scalar[i].w)));
        ASSERT_NEAR(m[i], static_cast<double>(scalar[i].m), 1e-6);
        ASSERT_NEAR(v[i], static_cast<double>(scalar[i].v), 1e-6 * (1 + scalar[i].v));
        ASSERT_NEAR(ema[i], static_cast<double>(scalar[i].ema), 1e-6 * (1 + std::abs(scalar[i].ema)));
    }
}

INSTANTIATE_TEST_SUITE_P(Rules, Optimizer,
                         testing::Combine(testing::Bool(), testing::Values(0.0, 1e-3),
                                          testing::Values(1.0, 0.37)));

// ---- Moments in bf16 -------------------------------------------------------------------------------------

struct Narrow {
    explicit Narrow(index_t count) : w(count), m(count), v(count), ema(count), g(count) {}
    void step(const OptimizerStep& step) {
        optimizer_step(test::cpu(2), std::ssize(w), step, g.data(),
                       OptimizerArrays{w.data(), m.data(), v.data(), ema.data()});
    }
    std::vector<real> w;
    std::vector<bfloat16> m, v;
    std::vector<real> ema, g;
};

TEST(Bf16Moments, StochasticRoundingPreservesDecay) {
    Narrow a(8000);
    std::fill(a.v.begin(), a.v.end(), round_to<bfloat16>(1.0));
    for (const bool adam : {false, true}) {
        OptimizerStep step;
        step.adam = adam;
        step.beta2 = 0.9999;  // a step of bf16 is 0.004 there
        ASSERT_EQ(widen(round_to<bfloat16>(step.beta2)), 1);
        std::fill(a.v.begin(), a.v.end(), round_to<bfloat16>(1.0));
        for (int t = 1; t <= 1000; ++t) {
            step.number = static_cast<std::uint64_t>(t);
            a.step(step);
        }
        double mean = 0;
        for (const bfloat16 v : a.v) mean += widen(v) / static_cast<double>(a.v.size());
        // 1000 roundings of at most half a step of 0.004: error 0.02 in one element, 0.0007 in the mean of
        // 8000 (three standard deviations).
        EXPECT_NEAR(mean, std::pow(step.beta2, 1000), 1e-3);
    }
}

TEST(Bf16Moments, RoundsToNeighborsAndKeepsZero) {
    Narrow a(4096);
    test::Random random(4);
    for (real& g : a.g) g = static_cast<real>(random.normal());
    a.g[0] = 0;
    OptimizerStep step;
    step.adam = true;
    step.beta2 = 0.5;
    a.step(step);
    int up = 0;
    for (std::size_t i = 0; i < a.g.size(); ++i) {
        const double exact = 0.5 * a.g[i] * a.g[i], v = widen(a.v[i]);
        ASSERT_LT(std::abs(v - exact), exact / 128 + 1e-40) << i;
        up += v > exact;
        ASSERT_EQ(widen(a.m[i]), widen(round_to<bfloat16>((1 - step.beta1) * a.g[i])));
    }
    EXPECT_EQ(widen(a.v[0]), 0);
    EXPECT_NEAR(up, 2048, 150);  // rounds up and down equally often: five standard deviations
    // Infinity is preserved so that it can be detected.
    a.g[5] = std::numeric_limits<real>::infinity();
    a.step(step);
    EXPECT_TRUE(std::isinf(widen(a.v[5])));
}

TEST(Bf16Moments, WeightsTrackFloatMoments) {
    const index_t count = 4001;  // not a multiple of groups of eight
    Narrow narrow(count);
    std::vector<real> w = test::Random(5).normals<real>(count), m(count), v(count);
    narrow.w = w;
    OptimizerStep step;
    step.lr_t = 1e-3;
    test::Random random(6);
    for (int t = 1; t <= 50; ++t) {
        step.number = static_cast<std::uint64_t>(t);
        narrow.g = random.normals<real>(count);
        narrow.step(step);
        optimizer_step<real>(test::cpu(), count, step, narrow.g.data(),
                             OptimizerArrays{w.data(), m.data(), v.data(), nullptr});
    }
    for (index_t i = 0; i < count; ++i)
        ASSERT_NEAR(narrow.w[i], w[i], 1e-3) << i;  // 2% of the distance moved in 50 steps
    EXPECT_NE(narrow.w, w);
}

TEST(Bf16Moments, RoundingDependsOnlyOnStepAndElement) {
    const index_t count = 4000, first = 1600;
    OptimizerStep step;
    step.number = 3;
    const auto run = [&](bool in_parts, int threads) {
        Narrow a(count);
        test::Random random(7);
        for (real& g : a.g) g = static_cast<real>(random.normal());
        const auto part = [&](index_t from, index_t to) {
            optimizer_step(test::cpu(threads), to - from, step, a.g.data() + from,
                           OptimizerArrays{a.w.data() + from, a.m.data() + from, a.v.data() + from,
                                           a.ema.data() + from, from});
        };
        if (in_parts) {
            part(0, first);
            part(first, count);
        } else {
            part(0, count);
        }
        std::vector<float> v;
        for (const bfloat16 x : a.v) v.push_back(widen(x));
        return v;
    };
    const std::vector<float> whole = run(false, 1);
    EXPECT_EQ(run(true, 1), whole);
    EXPECT_EQ(run(false, 3), whole);
    step.number = 4;
    EXPECT_NE(run(false, 1), whole);
    step.number = 3;
    step.seed = 1;
    EXPECT_NE(run(false, 1), whole);
}

// ---- Guarded update --------------------------------------------------------------------------------------

TEST(GuardedOptimizer, MatchesAndStopsAtNonFinite) {
    const index_t count = 1000;
    OptimizerStep step;
    step.lr_t = 1e-3;
    step.ema_rate = 0.1;
    const std::vector<real> g = test::Random(8).normals<real>(count);
    const auto run = [&](auto moment, const double* squares) {
        std::vector<real> w(count, real{1}), ema(count, real{2});
        std::vector<decltype(moment)> m(count), v(count);
        if (squares == nullptr)
            optimizer_step(test::cpu(), count, step, g.data(),
                           OptimizerArrays{w.data(), m.data(), v.data(), ema.data()});
        else
            optimizer_step(test::cpu(), count, &step, squares, g.data(),
                           OptimizerArrays{w.data(), m.data(), v.data(), ema.data(), 0});
        std::vector<double> all(w.begin(), w.end());
        all.insert(all.end(), ema.begin(), ema.end());
        for (const auto x : m) all.push_back(widen(x));
        for (const auto x : v) all.push_back(widen(x));
        return all;
    };
    const auto compare = [&](auto moment) {
        const double finite = 1e300;
        EXPECT_EQ(run(moment, &finite), run(moment, nullptr));
        std::vector<double> untouched(4 * count, 0.0);
        std::fill_n(untouched.begin(), count, 1.0);
        std::fill_n(untouched.begin() + count, count, 2.0);
        for (const double bad :
             {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
            EXPECT_EQ(run(moment, &bad), untouched);
    };
    compare(real{});
    compare(bfloat16{});
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

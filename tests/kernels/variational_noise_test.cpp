#include "kernels/variational_noise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/reduce.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

constexpr std::uint64_t kItems[] = {5, 0, std::uint64_t{1} << 40};
Noise noise_of_items() {
    return {Dequantization::variational, 11, Purpose::evaluate, kItems};
}

TEST(VariationalNoise, NumbersAreStandardNormal) {
    const index_t N = 3, D = 20003;  // not a multiple of four
    std::vector<double> eps(N * D, std::numeric_limits<double>::quiet_NaN()), minus_log_q(N),
        partial(group_scratch(N));
    normal_noise(test::cpu(), N, D, noise_of_items(), eps.data(), minus_log_q.data(), partial.data());
    for (index_t n = 0; n < N; ++n) {
        double sum = 0, squares = 0, log_density = 0;
        for (index_t i = 0; i < D; ++i) {
            const double e = eps[n * D + i];
            sum += e;
            squares += e * e;
            log_density += -0.5 * e * e - 0.5 * std::log(2 * M_PI);
        }
        EXPECT_NEAR(sum / D, 0, 4 / std::sqrt(D));
        EXPECT_NEAR(squares / D, 1, 4 * std::sqrt(2.0 / D));
        EXPECT_NEAR(minus_log_q[n], -log_density, 1e-8);
    }
    const PhiloxWords words = philox_block(11, Purpose::evaluate, kItems[2], 1);
    EXPECT_EQ(eps[2 * D + 4], philox_normal(words.word[0], words.word[1]).first);
    EXPECT_EQ(eps[2 * D + 7], philox_normal(words.word[2], words.word[3]).second);
}

TEST(VariationalNoise, DifferenceFindsTheLargestError) {
    const index_t N = 3, D = 51;
    std::vector<double> eps(N * D), ignored(N), partial(group_scratch(N)), difference = {1e-3, 0, 1e-3};
    normal_noise(test::cpu(), N, D, noise_of_items(), eps.data(), ignored.data(), partial.data());
    eps[3] += 1e-5;
    eps[D + 50] -= 0.25;
    eps[2 * D] = std::numeric_limits<double>::quiet_NaN();
    normal_noise_difference(test::cpu(), N, D, noise_of_items(), eps.data(), difference.data(),
                            partial.data());
    EXPECT_EQ(difference[0], 1e-3);  // it was larger
    EXPECT_NEAR(difference[1], 0.25, 1e-15);
    EXPECT_EQ(difference[2], std::numeric_limits<double>::infinity());
}

TEST(VariationalNoise, LogitsMatchTheFormula) {
    const index_t N = 2, D = 9;
    test::Random random(3);
    const std::vector<std::uint8_t> pixels = random.integers<std::uint8_t>(N * D, 0, 255);
    std::vector<double> h = random.normals(N * D);
    h[0] = 40, h[1] = -40, h[2] = 0;
    const std::vector<double> logits = h;
    std::vector<double> saved(N * D), minus_log_q = {100, 200}, partial(group_scratch(N)), difference(N);
    const Pixels image{N, D, 3, pixels.data()};
    dequantize_by_logits(test::cpu(), image, h.data(), saved.data(), minus_log_q.data(), partial.data());
    EXPECT_EQ(saved, logits);
    for (index_t n = 0; n < N; ++n) {
        long double expected = n == 0 ? 100 : 200;
        for (index_t i = n * D; i < (n + 1) * D; ++i) {
            const long double t = logits[i], u = 1 / (1 + std::exp(-t));
            EXPECT_NEAR(h[i], static_cast<double>(((pixels[i] >> 5) + u) / 8 - 0.5L), 1e-15);
            expected += -std::abs(t) - 2 * std::log1p(std::exp(-std::abs(t)));
        }
        EXPECT_NEAR(minus_log_q[n], static_cast<double>(expected), 1e-12);
    }
    dequantize_by_logits_difference(test::cpu(), image, logits.data(), h.data(), difference.data(),
                                    partial.data());
    EXPECT_EQ(difference, (std::vector<double>{0, 0}));
    h[D + 2] += 1e-6;
    dequantize_by_logits_difference(test::cpu(), image, logits.data(), h.data(), difference.data(),
                                    partial.data());
    EXPECT_EQ(difference[0], 0);
    EXPECT_NEAR(difference[1], 1e-6, 1e-15);
}

TEST(VariationalNoise, GradientMatchesDifferences) {
    const index_t D = 64;
    test::Random random(4);
    const std::vector<std::uint8_t> pixels = random.integers<std::uint8_t>(D, 0, 255);
    const std::vector<double> logits = random.normals(D), g = random.normals(D);
    const double dlogp = -0.3;
    const auto loss = [&](index_t at, double e) {
        std::vector<double> h = logits, minus_log_q(1, 0.0), partial(group_scratch(1));
        h[at] += e;
        dequantize_by_logits(test::cpu(), {1, D, 8, pixels.data()}, h.data(), nullptr, minus_log_q.data(),
                             partial.data());
        double sum = dlogp * minus_log_q[0];
        for (index_t i = 0; i < D; ++i) sum += g[i] * h[i];
        return sum;
    };
    std::vector<real> dh(g.begin(), g.end());
    dequantize_by_logits_backward(test::cpu(), D, 8, dlogp, logits.data(), dh.data());
    for (index_t i = 0; i < D; ++i) EXPECT_NEAR(dh[i], (loss(i, 1e-5) - loss(i, -1e-5)) / 2e-5, 2e-7);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

#include "kernels/gaussian.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/philox.h"
#include "kernels/reduce.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

// Latents interleaved with other numbers, and their parameters in either layout.
struct Problem {
    explicit Problem(bool shared, index_t z_stride)
        : latents{3, 10, 4, z_stride},
          layout(shared ? shared_gaussian(latents.C) : interleaved_gaussian(latents.C)),
          parameters(random.normals<real>((shared ? 1 : latents.N) * latents.rows * 2 * latents.C, 0.3)),
          z(random.normals(latents.N * latents.rows * z_stride)) {}

    index_t at(index_t n, index_t row, index_t c) const {
        return (n * latents.rows + row) * latents.z_stride + c;
    }
    index_t parameter(index_t n, index_t row, index_t c) const {
        return (n * latents.rows * layout.per_image + row) * layout.stride + c * layout.step;
    }
    index_t logs_offset() const { return layout.per_image ? 1 : latents.C; }
    const real* mean() const { return parameters.data(); }
    const real* logs() const { return parameters.data() + logs_offset(); }

    test::Random random{1};
    LatentShape latents;
    GaussianLayout layout;
    std::vector<real> parameters;
    std::vector<double> z;
};

template <class F>
void for_each_latent(const Problem& p, F f) {
    for (index_t n = 0; n < p.latents.N; ++n)
        for (index_t row = 0; row < p.latents.rows; ++row)
            for (index_t c = 0; c < p.latents.C; ++c) f(n, row, c);
}

class Gaussian : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Shared, Gaussian, testing::Bool());

TEST_P(Gaussian, LogDensityMatchesFormula) {
    const Problem p(GetParam(), 7);
    std::vector<double> logp(3, 10.0), expected(3, 10.0), partial(group_scratch(3));
    gaussian_log_density(test::cpu(), p.latents, {p.layout, p.mean(), p.logs()}, p.z.data(), logp.data(),
                         partial.data());
    for_each_latent(p, [&](index_t n, index_t row, index_t c) {
        const double logs = p.logs()[p.parameter(n, row, c)];
        const double d = p.z[p.at(n, row, c)] - p.mean()[p.parameter(n, row, c)];
        expected[n] -= 0.5 * std::log(2 * M_PI * std::exp(2 * logs)) + d * d / (2 * std::exp(2 * logs));
    });
    for (int n = 0; n < 3; ++n) EXPECT_NEAR(logp[n], expected[n], 1e-12 * std::abs(expected[n]));  // 40 terms
}

TEST_P(Gaussian, DecodeInvertsEncode) {
    const Problem p(GetParam(), 7);
    std::vector<double> z = p.z;
    gaussian_encode(test::cpu(), p.latents, {p.layout, p.mean(), p.logs()}, z.data());
    for_each_latent(p, [&](index_t n, index_t row, index_t c) {
        const index_t i = p.parameter(n, row, c);
        const double eps = (p.z[p.at(n, row, c)] - p.mean()[i]) * std::exp(-double{p.logs()[i]});
        ASSERT_NEAR(z[p.at(n, row, c)], eps, 1e-15 * (1 + std::abs(eps)));
    });
    gaussian_decode(test::cpu(), p.latents, {p.layout, p.mean(), p.logs()}, z.data());
    // Interleaved elements are unchanged; latents match up to two roundings.
    for (std::size_t i = 0; i < z.size(); ++i) ASSERT_NEAR(z[i], p.z[i], 1e-15 * (2 + std::abs(p.z[i])));
}

TEST_P(Gaussian, BackwardMatchesDerivative) {
    Problem p(GetParam(), 7);
    const double dlogp = -0.3;
    std::vector<real> dz(p.z.size(), real{9}), d(p.parameters.size(), real{9});
    gaussian_backward(test::cpu(), p.latents, {p.layout, p.mean(), p.logs()}, p.z.data(), dlogp, dz.data(),
                      d.data(), d.data() + p.logs_offset());
    std::vector<double> expected(d.size(), 0.0);
    for_each_latent(p, [&](index_t n, index_t row, index_t c) {
        const index_t i = p.parameter(n, row, c);
        const double inverse_sigma = std::exp(-double{p.logs()[i]});
        const double eps = (p.z[p.at(n, row, c)] - p.mean()[i]) * inverse_sigma;
        ASSERT_NEAR(dz[p.at(n, row, c)], -dlogp * eps * inverse_sigma, 1e-6);  // rounded to float
        expected[i] += dlogp * eps * inverse_sigma;
        expected[i + p.logs_offset()] += dlogp * (eps * eps - 1);
    });
    for (std::size_t i = 0; i < d.size(); ++i)
        ASSERT_NEAR(d[i], expected[i], 1e-6 * (1 + std::abs(expected[i])));
    for (std::size_t i = 0; i < dz.size(); ++i) ASSERT_TRUE(i % 7 < 4 || dz[i] == 9);
}

TEST_P(Gaussian, EncodeBackwardMatchesDerivative) {
    Problem p(GetParam(), 7);
    const std::vector<real> deps = p.random.normals<real>(static_cast<index_t>(p.z.size()));
    std::vector<real> dz = deps, d(p.parameters.size(), real{9});
    real* const dmean = GetParam() ? nullptr : d.data();  // shared parameters get no gradients
    gaussian_encode_backward(test::cpu(), p.latents, {p.layout, p.mean(), p.logs()}, p.z.data(), dz.data(),
                             dmean, GetParam() ? nullptr : d.data() + p.logs_offset());
    for_each_latent(p, [&](index_t n, index_t row, index_t c) {
        const index_t i = p.parameter(n, row, c), at = p.at(n, row, c);
        const double inverse_sigma = std::exp(-double{p.logs()[i]});
        const double eps = (p.z[at] - p.mean()[i]) * inverse_sigma;
        ASSERT_NEAR(dz[at], deps[at] * inverse_sigma, 1e-6 * (1 + std::abs(deps[at])));  // rounded to float
        if (dmean == nullptr) return;
        ASSERT_NEAR(d[i], -deps[at] * inverse_sigma, 1e-6 * (1 + std::abs(deps[at])));
        ASSERT_NEAR(d[i + p.logs_offset()], -deps[at] * eps, 1e-6 * (1 + std::abs(deps[at] * eps)));
    });
    for (std::size_t i = 0; i < dz.size(); ++i) ASSERT_TRUE(i % 7 < 4 || dz[i] == deps[i]);
}

TEST(GaussianNoise, DependsOnSeedImageAndPosition) {
    const LatentShape latents{3, 5, 3, 3};  // 15 numbers per image: the last block is cut
    std::vector<double> z(45, 100.0), later(45, 100.0), cold(45, 100.0);
    gaussian_noise(test::cpu(), latents, 4, 20, 0, 1.0, z.data());
    gaussian_noise(test::cpu(), latents, 4, 21, 0, 1.0, later.data());
    gaussian_noise(test::cpu(), latents, 4, 20, 0, 0.5, cold.data());
    for (index_t i = 0; i < 30; ++i) EXPECT_EQ(later[i], z[i + 15]);  // image 21 is the same in any batch
    for (index_t i = 0; i < 45; ++i) EXPECT_EQ(cold[i], 0.5 * z[i]);
    const PhiloxWords words = philox_block(4, Purpose::sample, 21, 3);
    EXPECT_EQ(z[15 + 12], philox_normal(words.word[0], words.word[1]).first);
    EXPECT_EQ(z[15 + 14], philox_normal(words.word[2], words.word[3]).first);
    std::vector<double> rest(45);
    gaussian_noise(test::cpu(), latents, 4, 20, 1, 1.0, rest.data());
    EXPECT_EQ(rest[0], z[4]);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

#include "kernels/coupling.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/reduce.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

constexpr index_t kN = 3, kPixels = 11, kRows = kN * kPixels, kC = 6;

// The scale and the derivative of its logarithm as specified.
struct Expected {
    double value, slope;
};
Expected expected_scale(CouplingScale scale, double h) {
    if (scale == CouplingScale::tanh) {
        const double tanh = std::tanh(h / 2);
        return {std::exp(2 * tanh), 1 - tanh * tanh};
    }
    const double value = 1 / (1 + std::exp(-(h + 2)));
    return {value, 1 - value};
}

class AffineCoupling : public testing::TestWithParam<CouplingScale> {};
INSTANTIATE_TEST_SUITE_P(Scales, AffineCoupling, testing::Values(CouplingScale::sigmoid, CouplingScale::tanh),
                         [](const auto& info) {
                             return std::string(info.param == CouplingScale::tanh ? "tanh" : "sigmoid");
                         });

TEST_P(AffineCoupling, MatchesSpecificationAndInverts) {
    test::Random random(1);
    const std::vector<real> out = random.normals<real>(kRows * kC);
    const std::vector<double> x = random.normals(kRows * kC);
    std::vector<double> h = x, logdet(kN, 1.0), expected(kN, 1.0), partial(group_scratch(kN));
    affine_coupling_forward(test::cpu(), kN, kPixels, kC, {GetParam(), out.data()}, h.data(), logdet.data(),
                            partial.data());
    for (index_t row = 0; row < kRows; ++row)
        for (index_t c = 0; c < kC / 2; ++c) {
            const double shift = out[row * kC + 2 * c];
            const double scale = expected_scale(GetParam(), out[row * kC + 2 * c + 1]).value;
            expected[row / kPixels] += std::log(scale);
            ASSERT_EQ(h[row * kC + c], x[row * kC + c]);
            const double y = (x[row * kC + kC / 2 + c] + shift) * scale;
            ASSERT_NEAR(h[row * kC + kC / 2 + c], y, 1e-15 * (1 + std::abs(y)));
        }
    for (index_t n = 0; n < kN; ++n) EXPECT_NEAR(logdet[n], expected[n], 1e-13);  // 33 terms of size 0.1
    affine_coupling_inverse(test::cpu(), kRows, kC, {GetParam(), out.data()}, h.data());
    for (std::size_t i = 0; i < h.size(); ++i) ASSERT_NEAR(h[i], x[i], 1e-14);  // divided by scales above 0.1
}

TEST_P(AffineCoupling, BackwardReturnsInputAndGradients) {
    test::Random random(2);
    const std::vector<real> out = random.normals<real>(kRows * kC), dy = random.normals<real>(kRows * kC);
    const std::vector<double> x = random.normals(kRows * kC);
    const double dlogdet = 0.4;
    std::vector<double> h = x, logdet(kN), partial(group_scratch(kN));
    affine_coupling_forward(test::cpu(), kN, kPixels, kC, {GetParam(), out.data()}, h.data(), logdet.data(),
                            partial.data());
    std::vector<real> dh = dy, dout(out.size(), real{7});
    affine_coupling_backward(test::cpu(), kRows, kC, dlogdet, {GetParam(), out.data()}, dout.data(), h.data(),
                             dh.data());
    for (index_t row = 0; row < kRows; ++row)
        for (index_t c = 0; c < kC / 2; ++c) {
            const index_t a = row * kC + c, b = a + kC / 2, o = row * kC + 2 * c;
            const auto [scale, slope] = expected_scale(GetParam(), out[o + 1]);
            ASSERT_NEAR(h[b], x[b], 1e-14);
            ASSERT_EQ(dh[a], dy[a]);
            // y = (x + shift) scale, each rounded to float once.
            ASSERT_NEAR(dh[b], dy[b] * scale, 1e-6);
            ASSERT_NEAR(dout[o], dy[b] * scale, 1e-6);
            ASSERT_NEAR(dout[o + 1], (dy[b] * (x[b] + out[o]) * scale + dlogdet) * slope, 1e-6);
        }
}

TEST(AdditiveCoupling, InverseAndGradient) {
    test::Random random(3);
    const std::vector<real> out = random.normals<real>(kRows * kC / 2), dy = random.normals<real>(kRows * kC);
    const std::vector<double> x = random.normals(kRows * kC);
    std::vector<double> h = x;
    additive_coupling_forward(test::cpu(), kRows, kC, out.data(), h.data());
    for (index_t row = 0; row < kRows; ++row)
        for (index_t c = 0; c < kC; ++c)
            ASSERT_EQ(h[row * kC + c],
                      c < kC / 2 ? x[row * kC + c] : x[row * kC + c] + out[row * (kC / 2) + c - kC / 2]);
    std::vector<double> rebuilt = h;
    additive_coupling_inverse(test::cpu(), kRows, kC, out.data(), rebuilt.data());
    std::vector<real> dout(out.size(), real{7});
    additive_coupling_backward(test::cpu(), kRows, kC, out.data(), dout.data(), h.data(), dy.data());
    EXPECT_EQ(h, rebuilt);
    for (std::size_t i = 0; i < h.size(); ++i) ASSERT_NEAR(h[i], x[i], 1e-15 * 4);  // one addition
    for (index_t row = 0; row < kRows; ++row)
        for (index_t c = 0; c < kC / 2; ++c) ASSERT_EQ(dout[row * (kC / 2) + c], dy[row * kC + kC / 2 + c]);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

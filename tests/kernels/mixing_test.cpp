#include "kernels/mixing.h"

#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "kernels/mixing_gradient.h"
#include "kernels/mixing_values.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

// Channels and rows around the driver's block sizes (4 outputs, 8 rows).
TEST(AffineRows, MatchesMatrixProduct) {
    test::Random random(1);
    for (const index_t C : {1, 2, 3, 4, 5, 12, 48})
        for (const index_t rows : {1, 7, 8, 9, 100}) {
            const std::vector<double> M = random.normals(C * C), shift = random.normals(C),
                                      x = random.normals(rows * C);
            std::vector<double> h = x;
            affine_rows(test::cpu(), rows, C, M.data(), shift.data(), h.data());
            for (index_t row = 0; row < rows; ++row)
                for (index_t o = 0; o < C; ++o) {
                    double y = shift[o];
                    for (index_t i = 0; i < C; ++i) y += M[o * C + i] * x[row * C + i];
                    ASSERT_NEAR(h[row * C + o], y, 1e-13);  // C + 1 terms of size 1
                }
        }
}

// A GPU's tiles on the CPU, with one round of a block and with several, the last tile full or not.
TEST(AffineRows, TilesGiveTheSameBits) {
    const Exec gpu_paths{Device::cpu, 2, nullptr, true};
    test::Random random(6);
    for (const index_t C : {4, 12, 24, 48, 64})
        for (const index_t rows : {0, 1, 17, 1000, C == 24 ? 34001 : 2048}) {
            const std::vector<double> M = random.normals(C * C), shift = random.normals(C),
                                      x = random.normals(rows * C);
            std::vector<double> plain = x, tiled = x;
            affine_rows(test::cpu(), rows, C, M.data(), shift.data(), plain.data());
            affine_rows(gpu_paths, rows, C, M.data(), shift.data(), tiled.data());
            EXPECT_EQ(plain, tiled) << rows << " rows of " << C;
        }
}

TEST(AffineRowsGradient, MatchesTransposedMatrixProduct) {
    test::Random random(2);
    for (const index_t C : {1, 3, 4, 5, 12, 48})
        for (const index_t rows : {1, 7, 8, 9, 100}) {
            const std::vector<double> M = random.normals(C * C);
            const std::vector<real> dy = random.normals<real>(rows * C);
            std::vector<real> dh = dy;
            affine_rows_gradient(test::cpu(), rows, C, M.data(), dh.data());
            for (index_t row = 0; row < rows; ++row)
                for (index_t i = 0; i < C; ++i) {
                    double dx = 0;
                    for (index_t o = 0; o < C; ++o) dx += M[o * C + i] * dy[row * C + o];
                    ASSERT_NEAR(dh[row * C + i], dx, 1e-6 * (2 + std::sqrt(C)));  // C float terms of size 1
                }
        }
}

TEST(CastWithOne, AppendsColumnOfOnes) {
    const std::vector<double> h = test::Random(3).normals(7 * 3);
    std::vector<real> out(7 * 4);
    cast_with_one(test::cpu(), 7, 3, h.data(), out.data());
    for (index_t row = 0; row < 7; ++row)
        for (index_t c = 0; c < 4; ++c)
            EXPECT_EQ(out[row * 4 + c], c < 3 ? static_cast<real>(h[row * 3 + c]) : real{1});
}

// The same for a whole backward: state and gradient bit for bit. Its sums: KernelParity.MixingBackward.
TEST(MixingBackward, TilesGiveTheSameBits) {
    const Exec gpu_paths{Device::cpu, 2, nullptr, true};
    test::Random random(7);
    for (const index_t C : {4, 12, 24, 48})
        for (const index_t rows : {1, 17, 1000, C == 48 ? 9001 : 2048}) {
            SCOPED_TRACE(testing::Message() << rows << " rows of " << C);
            ASSERT_TRUE(has_mixing_backward(gpu_paths, C));
            std::vector<double> M = random.normals(C * C), M_inverse = random.normals(C * C),
                                W = random.normals(C * C), minus_bias = random.normals(C);
            const std::vector<double> y = random.normals(rows * C);
            const std::vector<real> dy = random.normals<real>(rows * C), bias = random.normals<real>(C),
                                    logs = random.normals<real>(C, 0.1);
            std::vector<double> x = y;
            std::vector<real> dx = dy;
            affine_rows(test::cpu(), rows, C, M_inverse.data(), minus_bias.data(), x.data());
            affine_rows_gradient(test::cpu(), rows, C, M.data(), dx.data());
            MixingValues values{};
            values.W = W.data();
            values.M = M.data();
            values.M_inverse = M_inverse.data();
            values.minus_bias = minus_bias.data();
            for (const bool given : {false, true}) {
                std::vector<double> h = y;
                std::vector<real> dh = dy, dbias(C), dlogs(C), partial(mixing_backward_scratch(rows, C));
                mixing_backward(gpu_paths, C,
                                {rows, given ? nullptr : h.data(), given ? x.data() : nullptr, dh.data()},
                                values, {bias.data(), logs.data()}, 0.7,
                                {nullptr, nullptr, {dbias.data(), dlogs.data()}}, partial.data());
                EXPECT_EQ(dh, dx);
                EXPECT_EQ(h, given ? y : x);
            }
        }
}

// The last kernel of a GPU's backward also unfolds a network's gradients, with blocks of other sizes: all
// results have the bits of separate kernels. Networks with an even and an odd number of rows, and without
// hidden channels.
TEST(MixingBackward, UnfoldsNetworkWithTheSameBits) {
    const Exec gpu_paths{Device::cpu, 2, nullptr, true};
    test::Random random(8);
    for (const index_t C : {4, 48})
        for (const index_t w : {0, 1, 130}) {
            SCOPED_TRACE(testing::Message() << C << " channels, width " << w);
            const index_t rows = 300, K = 27, stride = 32, N = 5;
            std::vector<double> M = random.normals(C * C), W = random.normals(C * C),
                                W_inverse = random.normals(C * C), minus_bias = random.normals(C);
            MixingValues values{};
            values.W = W.data();
            values.M = values.M_inverse = M.data();
            values.W_inverse = W_inverse.data();
            values.minus_bias = minus_bias.data();
            const auto y = random.normals(rows * C);
            const auto dy = random.normals<real>(rows * C), bias = random.normals<real>(C),
                       logs = random.normals<real>(C, 0.1), weights = random.normals<real>(w * w + 9 * C * w),
                       dfolded = random.normals<real>(w * w + 9 * C * w),
                       small = random.normals<real>(w, 0.1), gradients = random.normals<real>(C * C + 2 * C);
            const auto sums = random.normals(11 * C * N);
            const auto run = [&](bool together) {
                std::vector<double> h = y;
                std::vector<real> dh = dy, mixing = gradients, dMc(C * (C + 1)), dW1(w * K), dW2(w * w),
                                  dW3(9 * C * (w + 1)), db1(w), dl1(w), db2(w), dl2(w), db3(C), dl3(C),
                                  partial(mixing_backward_scratch(rows, C));
                const real* const d = dfolded.data();
                const NetworkUnfolding network{{w, K, stride, weights.data(), small.data(), small.data(), d,
                                                nullptr, dW1.data(), db1.data(), dl1.data()},
                                               {w, w, w, weights.data(), small.data(), small.data(), d,
                                                small.data(), dW2.data(), db2.data(), dl2.data()},
                                               {C, w, true, TapOrder::taps_first, d + w * w, sums.data(), N,
                                                dW3.data(), db3.data(), dl3.data()}};
                mixing_backward(gpu_paths, C, {rows, h.data(), nullptr, dh.data()}, values,
                                {bias.data(), logs.data()}, 0.7,
                                {dMc.data(), mixing.data(), {&mixing[C * C], &mixing[C * C + C]}},
                                partial.data(), together ? &network : nullptr);
                if (!together) unfold_network(gpu_paths, network);
                return std::tuple(h,
                                  std::vector{dh, mixing, dMc, dW1, dW2, dW3, db1, dl1, db2, dl2, db3, dl3});
            };
            EXPECT_EQ(run(true), run(false));
        }
}

// Reference: chain rule through M = W diag(s), c = W diag(s) b, element by element.
struct UnfoldMixing : testing::Test {
    test::Random random{4};
    const index_t C = 5;
    const double dlogdet = 0.7;
    const std::vector<real> dMc = random.normals<real>(C * (C + 1)), bias = random.normals<real>(C),
                            logs = random.normals<real>(C, 0.2);
    const std::vector<double> W = random.normals(C * C), inverse = random.normals(C * C);
    // dL/dW without the log-determinant.
    double G(index_t o, index_t i) const {
        return std::exp(3.0 * logs[i]) * (dMc[o * (C + 1) + i] + double{dMc[o * (C + 1) + C]} * bias[i]);
    }
};

TEST_F(UnfoldMixing, AccumulatesGradients) {
    std::vector<real> dW(C * C, real{1}), dbias(C, real{2}), dlogs(C, real{3});
    dense_weight_gradient(test::cpu(), C, dMc.data(), inverse.data(), {bias.data(), logs.data()}, dlogdet,
                          dW.data());
    actnorm_gradient(test::cpu(), C, dMc.data(), W.data(), {bias.data(), logs.data()}, dlogdet,
                     {dbias.data(), dlogs.data()});
    for (index_t i = 0; i < C; ++i) {
        double db = 2, dl = 3 + 3 * dlogdet;
        for (index_t o = 0; o < C; ++o) {
            db += dMc[o * (C + 1) + C] * W[o * C + i] * std::exp(3.0 * logs[i]);
            dl += 3 * W[o * C + i] * G(o, i);
            ASSERT_NEAR(dW[o * C + i], 1 + G(o, i) + dlogdet * inverse[i * C + o], 1e-5);
        }
        ASSERT_NEAR(dbias[i], db, 1e-5);
        ASSERT_NEAR(dlogs[i], dl, 1e-5);
    }
}

// W = P A B with A = L + I, B = U + D: dA = P^T G B^T, dB = A^T P^T G, as full matrices.
TEST_F(UnfoldMixing, SupportsLuFactors) {
    const std::vector<real> permutation = {3, 0, 4, 1, 2}, sign = {1, -1, 1, -1, -1},
                            log_diag = random.normals<real>(C, 0.3), lower = random.normals<real>(C * C),
                            upper = random.normals<real>(C * C);
    std::vector<double> A(C * C, 0.0), B(C * C, 0.0), dLU(C * C, 0.0), scratch(C * C);
    for (index_t r = 0; r < C; ++r)
        for (index_t c = 0; c < C; ++c) {
            A[r * C + c] = r > c ? lower[r * C + c] : r == c ? 1.0 : 0.0;
            B[r * C + c] = r < c ? upper[r * C + c] : r == c ? sign[r] * std::exp(double{log_diag[r]}) : 0.0;
            dLU[static_cast<index_t>(permutation[r]) * C + c] = G(r, c);
        }
    const LuFactors factors{permutation.data(), sign.data(), log_diag.data(), lower.data(), upper.data()};
    std::vector<double> product(C * C);
    lu_weight(test::cpu(), 1, C, 0, 0, factors, product.data());
    std::vector<real> ddiag(C, real{1}), dlower(C * C, real{2}), dupper(C * C, real{3});
    lu_gradient(test::cpu(), C, dMc.data(), factors, {bias.data(), logs.data()}, dlogdet, scratch.data(),
                {ddiag.data(), dlower.data(), dupper.data()});
    for (index_t r = 0; r < C; ++r)
        for (index_t c = 0; c < C; ++c) {
            double w = 0, dA = 0, dB = 0;
            for (index_t k = 0; k < C; ++k) {
                w += A[static_cast<index_t>(permutation[r]) * C + k] * B[k * C + c];
                dA += dLU[r * C + k] * B[c * C + k];
                dB += A[k * C + r] * dLU[k * C + c];
            }
            ASSERT_NEAR(product[r * C + c], w, 1e-13);
            ASSERT_NEAR(dlower[r * C + c], 2 + (r > c ? dA : 0),
                        2e-5);  // sums of float inputs, read as float
            ASSERT_NEAR(dupper[r * C + c], 3 + (r < c ? dB : 0), 2e-5);
            if (r == c) {
                ASSERT_NEAR(ddiag[r], 1 + dB * B[r * C + r] + dlogdet, 2e-5);
            }
        }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

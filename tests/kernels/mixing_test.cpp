#include "kernels/mixing.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

// Channels and rows around the sizes that the driver takes together (4 outputs, 8 rows).
TEST(AffineRows, IsAMatrixTimesEveryRow) {
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

TEST(AffineRowsGradient, IsTheTransposedMatrixTimesEveryRow) {
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

TEST(CastWithOne, PutsAColumnOfOnesBesideTheRows) {
    const std::vector<double> h = test::Random(3).normals(7 * 3);
    std::vector<real> out(7 * 4);
    cast_with_one(test::cpu(), 7, 3, h.data(), out.data());
    for (index_t row = 0; row < 7; ++row)
        for (index_t c = 0; c < 4; ++c)
            EXPECT_EQ(out[row * 4 + c], c < 3 ? static_cast<real>(h[row * 3 + c]) : real{1});
}

// The chain rule through M = W diag(s), c = W diag(s) b, written out entry by entry.
TEST(UnfoldMixing, AccumulatesTheGradientsOfItsFormula) {
    test::Random random(4);
    const index_t C = 5;
    const double dlogdet = 0.7;
    const std::vector<real> dMc = random.normals<real>(C * (C + 1)), W = random.normals<real>(C * C),
                            bias = random.normals<real>(C), logs = random.normals<real>(C, 0.2);
    const std::vector<double> inverse = random.normals(C * C);
    std::vector<real> dW(C * C, real{1}), dbias(C, real{2}), dlogs(C, real{3});
    unfold_mixing(test::cpu(), C, dMc.data(), W.data(), inverse.data(), bias.data(), logs.data(), dlogdet,
                  dW.data(), dbias.data(), dlogs.data());
    for (index_t i = 0; i < C; ++i) {
        const double s = std::exp(3.0 * logs[i]);
        double db = 2, dl = 3 + 3 * dlogdet;
        for (index_t o = 0; o < C; ++o) {
            const double dM = dMc[o * (C + 1) + i], dc = dMc[o * (C + 1) + C], w = W[o * C + i];
            db += dc * w * s;
            dl += 3 * s * w * (dM + dc * bias[i]);
            ASSERT_NEAR(dW[o * C + i], 1 + s * (dM + dc * bias[i]) + dlogdet * inverse[i * C + o], 1e-5);
        }
        ASSERT_NEAR(dbias[i], db, 1e-5);
        ASSERT_NEAR(dlogs[i], dl, 1e-5);
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

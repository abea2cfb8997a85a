// Mixings by an invertible matrix, on a GPU against the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/elementwise.h"
#include "kernels/mixing.h"
#include "kernels/mixing_gradient.h"
#include "kernels/mixing_values.h"
#include "tests/kernels/kernel_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceUnderTest;
using test::kDouble;
using test::KernelParity;
using test::kFloat;
using test::nans;
using test::Random;
using test::rounded;

// Channels around the sizes at which a GPU block takes fewer rows.
TEST_P(KernelParity, AffineRows) {
    Random random(10);
    for (const index_t C : {1, 2, 3, 12, 48, 95, 96, 200, 400})
        for (const index_t rows : {1, 31, 100}) {
            const auto M = random.normals(C * C, 0.2), shift = random.normals(C),
                       h = random.normals(rows * C);
            const auto dh = random.normals<real>(rows * C);
            SCOPED_TRACE(testing::Message() << C << " channels, " << rows << " rows");
            // Errors of C products per row and their sum.
            std::vector<double> errors, gradient_errors;
            for (index_t row = 0; row < rows; ++row)
                for (index_t c = 0; c < C; ++c) {
                    std::vector<double> terms{shift[c]}, gradient_terms;
                    for (index_t i = 0; i < C; ++i) {
                        terms.push_back(M[c * C + i] * h[row * C + i]);
                        gradient_terms.push_back(M[i * C + c] * dh[row * C + i]);
                    }
                    errors.push_back(test::sum_error<double>(C + 2, terms));
                    gradient_errors.push_back(test::sum_error<real>(C + 1, gradient_terms));
                }
            expect_parity(0, [&](DeviceUnderTest& device) {
                affine_rows(device.exec, rows, C, device.in(M), device.in(shift), device.out(h, errors));
            });
            expect_parity(0, [&](DeviceUnderTest& device) {
                affine_rows_gradient(device.exec, rows, C, device.in(M), device.out(dh, gradient_errors));
            });
            expect_parity(0, [&](DeviceUnderTest& device) {
                cast_with_one(device.exec, rows, C, device.in(h), device.out(nans<real>(rows * (C + 1))));
            });
        }
}

// A mixing's backward in two kernels against its parts: the state and its gradient bit for bit on the CPU.
TEST_P(KernelParity, MixingBackward) {
    Random random(19);
    for (const index_t C : {4, 12, 24, 48, 52})
        for (const index_t rows : {0, 1, 63, 1000, C == 12 ? 35000 : C == 48 ? 9000 : 200}) {
            SCOPED_TRACE(testing::Message() << rows << " rows of " << C);
            const std::vector<double> M = random.normals(C * C), M_inverse = random.normals(C * C),
                                      W = random.normals(C * C), W_inverse = random.normals(C * C),
                                      minus_bias = random.normals(C), y = random.normals(rows * C);
            const std::vector<real> dy = random.normals<real>(rows * C), bias = random.normals<real>(C),
                                    logs = random.normals<real>(C, 0.1);
            std::vector<double> x = y;
            affine_rows(test::cpu(), rows, C, M_inverse.data(), minus_bias.data(), x.data());
            // (dM, dc), and how far the order of its sums can move it and what follows from it.
            std::vector<real> dMc;
            constexpr double kLast = 4e-6;  // the rounding of a gradient that was there before
            std::vector<double> errors, dW_errors(C * C), dbias_errors(C, kLast), dlogs_errors(C, kLast);
            for (index_t o = 0; o < C; ++o)
                for (index_t i = 0; i <= C; ++i) {
                    std::vector<double> terms(rows);
                    for (index_t row = 0; row < rows; ++row)
                        terms[row] = dy[row * C + o] * (i < C ? round_state<real>(x[row * C + i]) : real{1});
                    dMc.push_back(static_cast<real>(std::accumulate(terms.begin(), terms.end(), 0.0)));
                    errors.push_back(test::sum_error<real>(20, terms));
                }
            for (index_t i = 0; i < C; ++i)
                for (index_t o = 0; o < C; ++o) {
                    const double size = std::abs(W[o * C + i]), dc = errors[o * (C + 1) + C],
                                 G = (errors[o * (C + 1) + i] + dc * std::abs(bias[i])) * scale_of(logs[i]);
                    dW_errors[o * C + i] = kLast + 2 * G;
                    dbias_errors[i] += 2 * size * dc * scale_of(logs[i]);
                    dlogs_errors[i] += 2 * kLogsFactor * size * G;
                }
            // Compilers fuse multiplications and additions in different places.
            const double state = kDouble * 100, gradient = kFloat * 100;
            for (const bool given : {false, true})
                expect_parity(0, [&](DeviceUnderTest& device) {
                    state_t* const h = device.out(y, {state});
                    real* const dh = device.out(dy, {gradient});
                    const MixingGradients gradients{
                        device.out(std::vector<real>(C * (C + 1)), errors),
                        device.out(rounded<real>(W), dW_errors),
                        {device.out(bias, dbias_errors), device.out(logs, dlogs_errors)}};
                    MixingValues values{};
                    values.W = device.in(W);
                    values.W_inverse = device.in(W_inverse);
                    values.M = device.in(M);
                    values.M_inverse = device.in(M_inverse);
                    values.minus_bias = device.in(minus_bias);
                    const ActnormParameters actnorm{device.in(bias), device.in(logs)};
                    if (device.exec.tuned_for_gpu())
                        return mixing_backward(
                            device.exec, C, {rows, given ? nullptr : h, given ? device.in(x) : nullptr, dh},
                            values, actnorm, 0.7, gradients,
                            device.scratch<real>(mixing_backward_scratch(rows, C)));
                    if (!given) std::copy(x.begin(), x.end(), h);
                    affine_rows_gradient(device.exec, rows, C, values.M, dh);
                    std::copy(dMc.begin(), dMc.end(), gradients.dMc);
                    dense_weight_gradient(device.exec, C, dMc.data(), values.W_inverse, actnorm, 0.7,
                                          gradients.dW);
                    actnorm_gradient(device.exec, C, dMc.data(), values.W, actnorm, 0.7, gradients.actnorm);
                });
        }
    EXPECT_TRUE(has_mixing_backward(target(), 48));
    EXPECT_FALSE(has_mixing_backward(target(), 96));  // a block has too few threads for its sums
    EXPECT_FALSE(has_mixing_backward(target(), 6));   // rows of whole packs only
    EXPECT_FALSE(has_mixing_backward(test::cpu(), 12));
}

// Derived values of K steps with separated parameters, and gradients of one.
TEST_P(KernelParity, Mixings) {
    Random random(15);
    for (const index_t C : {2, 12, 48}) {
        const index_t K = 3, stride = 2 * C * C + 4 * C, fixed_stride = 2 * C + 5, n = K * C * C;
        const auto parameters = random.normals<real>(K * stride, 0.2);
        std::vector<real> fixed(K * fixed_stride, real{1});
        for (index_t k = 0; k < K; ++k)
            for (index_t c = 0; c < C; ++c) {
                fixed[k * fixed_stride + c] = static_cast<real>((c + k + 1) % C);  // a permutation
                fixed[k * fixed_stride + C + c] = c % 2 == 0 ? real{1} : real{-1};
            }
        const auto factors = [&](const real* p, const real* f) {
            return LuFactors{f, f + C, p, p + C, p + C + C * C};
        };
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            dense_weight(device.exec, K, C, stride, device.in(parameters), device.out(nans<double>(n)));
        });
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            const real* const p = device.in(parameters);
            lu_weight(device.exec, K, C, stride, fixed_stride, factors(p, device.in(fixed)),
                      device.out(nans<double>(n)));
            lu_log_determinant(device.exec, K, C, stride, p, device.out(nans<double>(K)));
        });
        for (const bool reversed : {false, true})
            expect_parity(0, [&](DeviceUnderTest& device) {
                MixingValues values{};
                values.W = device.out(nans<double>(n));
                values.W_inverse = device.out(nans<double>(n));
                values.mixing_logdet = device.out(nans<double>(K));
                values.condition = device.out(nans<double>(K));
                permutation_weight(device.exec, K, C, fixed_stride, reversed ? nullptr : device.in(fixed),
                                   values);
            });
        auto biases = random.normals<real>(K * stride, 0.2), scales = random.normals<real>(K * stride, 0.2);
        biases[stride + 1] = std::numeric_limits<real>::infinity();
        const auto W = random.normals(n), inverse = random.normals(n);
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            fold_mixing(device.exec, K, C, 64, stride, {device.in(biases), device.in(scales)},
                        {device.in(W), device.in(inverse), device.out(nans<double>(n)),
                         device.out(nans<double>(n)), device.out(nans<double>(K * C)),
                         device.out(nans<double>(K * C)), device.out(std::vector<double>(K, 1.5)),
                         device.out(nans<double>(K)), device.out(std::vector<double>(K, 2.0))});
        });
        expect_parity(0, [&](DeviceUnderTest& device) {
            add_to_all(device.exec, n, device.in(W), device.out(inverse));
        });
        const auto dMc = random.normals<real>(C * (C + 1)), bias = random.normals<real>(C, 0.2),
                   logs = random.normals<real>(C, 0.2);
        expect_parity(kFloat, [&](DeviceUnderTest& device) {
            dense_weight_gradient(device.exec, C, device.in(dMc), device.in(inverse),
                                  {device.in(bias), device.in(logs)}, 0.7, device.out(parameters));
        });
        expect_parity(kFloat, [&](DeviceUnderTest& device) {
            actnorm_gradient(device.exec, C, device.in(dMc), device.in(W), {device.in(bias), device.in(logs)},
                             0.7, {device.out(bias), device.out(logs)});
        });
        expect_parity(kFloat, [&](DeviceUnderTest& device) {
            lu_gradient(device.exec, C, device.in(dMc), factors(device.in(parameters), device.in(fixed)),
                        {device.in(bias), device.in(logs)}, 0.7, device.scratch<double>(C * C),
                        {device.out(bias), device.out(std::vector<real>(C * C, real{1})),
                         device.out(std::vector<real>(C * C, real{1}))});
        });
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

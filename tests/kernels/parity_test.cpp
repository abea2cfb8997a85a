// Every kernel on a GPU against the same kernel on the CPU, which the other tests check. Without a GPU, the
// GPU functors run through the drivers' host loops.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "kernels/activation.h"
#include "kernels/actnorm_fold.h"
#include "kernels/actnorm_init.h"
#include "kernels/class_conditioning.h"
#include "kernels/convolution.h"
#include "kernels/coupling.h"
#include "kernels/density_map.h"
#include "kernels/dequantize.h"
#include "kernels/elementwise.h"
#include "kernels/gaussian.h"
#include "kernels/mixing.h"
#include "kernels/mixing_gradient.h"
#include "kernels/mixing_values.h"
#include "kernels/optimizer.h"
#include "kernels/reduce.h"
#include "kernels/saved_state.h"
#include "kernels/small_matrix.h"
#include "kernels/squeeze_split.h"
#include "kernels/step_sums.h"
#include "kernels/variational_noise.h"
#include "tests/device_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceSide;
using test::Random;

// Double results differ by summation order and fused operations; float results are then rounded, bf16 ones to
// 8 bits. Long sums have their own bound: test::sum_error.
constexpr double kDouble = 1e-12, kFloat = 1e-6, kNarrow = 8e-3;
template <class T>
constexpr double kRounding = sizeof(T) == 8   ? kDouble
                             : sizeof(T) == 4 ? kFloat
                                              : kNarrow;

template <class T>
std::vector<T> rounded(const std::vector<double>& values) {
    std::vector<T> narrow(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) narrow[i] = round_to<T>(values[i]);
    return narrow;
}
template <class T>
std::vector<T> nans(index_t count) {
    return std::vector<T>(static_cast<std::size_t>(count),
                          round_to<T>(std::numeric_limits<double>::quiet_NaN()));
}

class KernelParity : public test::SideTest {
  protected:
    template <class S, class Map>
    void expect_im2col(index_t C, bool edge, bool one, bool mirror, index_t padding,
                       const ImageRows& rows = {5, 6, 3, 11}) {
        const index_t H = rows.H, W = rows.W, N = (rows.end + H - 1) / H, source_stride = C + 2;
        const index_t used = 9 * (C + edge) + one, stride = (used + padding - 1) / padding * padding;
        const auto source = rounded<S>(Random(1).normals(N * H * W * source_stride));
        SCOPED_TRACE(testing::Message() << C << edge << one << mirror << " stride " << stride);
        expect_parity(0, [&](DeviceSide& side) {
            im2col(side.exec, rows, {C, edge, one, stride}, mirror, side.in(source), source_stride,
                   side.out(nans<Map>(rows.pixels() * stride)));
        });
    }
    void expect_folding(index_t out, index_t K, index_t stride) {
        SCOPED_TRACE(testing::Message() << out << " " << K << " " << stride);
        Random random(2);
        const auto W = random.normals<real>(out * K), bias = random.normals<real>(out),
                   logs = random.normals<real>(out, 0.2), d = random.normals<real>(out * stride),
                   dc = random.normals<real>(out);
        expect_parity(kRounding<real>, [&](DeviceSide& side) {
            fold_actnorm(side.exec, out, K, stride, side.in(W), side.in(bias), side.in(logs),
                         side.out(nans<real>(out * stride)));
        });
        for (const bool separate : {false, true}) {
            if (!separate && stride == K) continue;
            expect_parity(kRounding<real>, [&](DeviceSide& side) {
                unfold_actnorm(side.exec, {out, K, stride, side.in(W), side.in(bias), side.in(logs),
                                           side.in(d), separate ? side.in(dc) : nullptr, side.out(W),
                                           side.out(bias), side.out(logs)});
            });
        }
    }
    // All of a network's gradient in one call: both convolutions as each alone, and sums over images in the order of
    // the last one's parameters. Sums of whole numbers are exact: no image is lost or taken twice.
    void expect_unfolded_network(bool edge, TapOrder order) {
        Random random(3);
        const index_t C = 6, w = 150, K = 27, stride = 32, N = 300, depth = w + edge;
        const auto W1 = random.normals<real>(w * K), W2 = random.normals<real>(w * w),
                   bias = random.normals<real>(w), logs = random.normals<real>(w, 0.2),
                   d1 = random.normals<real>(w * stride), d2 = random.normals<real>(w * w),
                   d3 = random.normals<real>(9 * C * w), W3 = random.normals<real>(C * 9 * depth);
        const auto sums = random.integers<double>((edge ? 11 : 2) * C * N);
        std::vector<real> dbias3(C), dlogs3(C), dW3 = W3;
        for (index_t c = 0; c < C; ++c)
            for (index_t n = 0; n < N; ++n) {
                dbias3[c] += static_cast<real>(sums[c * N + n]);
                dlogs3[c] += static_cast<real>(3 * sums[(C + c) * N + n]);
            }
        for (index_t row = 0; row < 9 * C && edge; ++row) {
            const index_t c = row / 9, kind = 2 + row % 9;
            double sum = 0;
            for (index_t n = 0; n < N; ++n) sum += sums[(kind * C + c) * N + n];
            dW3[row * depth + w] += static_cast<real>(sum);
        }
        for (index_t c = 0; c < C; ++c)
            for (index_t tap = 0; tap < 9; ++tap)
                for (index_t i = 0; i < w; ++i)
                    dW3[(c * 9 + tap) * depth + i] +=
                        d3[(order == TapOrder::taps_first ? tap * C + c : c * 9 + tap) * w + i];
        DeviceSide expected(test::cpu()), found(target());
        const auto convolutions = [&](DeviceSide& side, auto run) {
            const ActnormUnfolding conv1{
                w,           K,       stride,       side.in(W1),    side.in(bias), side.in(logs),
                side.in(d1), nullptr, side.out(W1), side.out(bias), side.out(logs)};
            const ActnormUnfolding conv2{w,
                                         w,
                                         w,
                                         side.in(W2),
                                         side.in(bias),
                                         side.in(logs),
                                         side.in(d2),
                                         side.in(bias),
                                         side.out(W2),
                                         side.out(bias),
                                         side.out(logs)};
            run(conv1, conv2);
        };
        convolutions(expected, [&](const ActnormUnfolding& conv1, const ActnormUnfolding& conv2) {
            unfold_actnorm(expected.exec, conv1);
            unfold_actnorm(expected.exec, conv2);
            expected.out(dW3), expected.out(dbias3), expected.out(dlogs3);
        });
        convolutions(found, [&](const ActnormUnfolding& conv1, const ActnormUnfolding& conv2) {
            unfold_network(found.exec, conv1, conv2,
                           {C, w, edge, order, found.in(d3), found.in(sums), N, found.out(W3),
                            found.out(std::vector<real>(C)), found.out(std::vector<real>(C))});
        });
        const auto a = expected.results(), b = found.results();
        for (std::size_t array = 0; array < a.size(); ++array)
            for (std::size_t i = 0; i < a[array].size(); ++i)
                ASSERT_NEAR(b[array][i], a[array][i], kRounding<real> * (1 + std::abs(a[array][i])))
                    << "array " << array << ", element " << i;
    }
    // Two levels, of three networks and of one; a width above and one below a block's threads.
    template <class Map>
    void expect_folded_networks(bool edge, TapOrder order) {
        SCOPED_TRACE(testing::Message() << edge << static_cast<int>(order));
        Random random(4);
        struct Level {
            index_t networks, w, K, stride, C, rows3;
        };
        const Level levels[] = {{3, 40, 31, 32, 5, 48}, {1, 300, 9, 16, 2, 24}};
        const index_t step = 300 * 320 * 2;
        const auto parameters = random.normals<real>(3 * step, 0.2);
        expect_parity(kRounding<Map>, [&](DeviceSide& side) {
            std::vector<NetworkFolding<Map>> foldings;
            for (const auto& [n, w, K, stride, C, rows3] : levels) {
                const real* at = side.in(parameters);
                const auto next = [&](index_t size) { return std::exchange(at, at + size); };
                const real *const W1 = next(w * K), *const bias1 = next(w), *const logs1 = next(w),
                                  *const W2 = next(w * w), *const bias2 = next(w), *const logs2 = next(w),
                                  *const logs3 = next(C), *const W3 = next(0);
                foldings.push_back({n,
                                    step,
                                    w,
                                    K,
                                    stride,
                                    C,
                                    rows3,
                                    edge,
                                    order,
                                    W1,
                                    bias1,
                                    logs1,
                                    W2,
                                    bias2,
                                    logs2,
                                    W3,
                                    logs3,
                                    side.out(nans<Map>(n * w * stride)),
                                    side.out(nans<Map>(n * w * w)),
                                    side.out(nans<Map>(n * rows3 * w)),
                                    side.out(std::vector<real>(n * (w + 8))),
                                    w + 8,
                                    side.out(nans<double>(n * C)),
                                    side.out(std::vector<Map>(n * (w + 8)))});
            }
            fold_networks<Map>(side.exec, foldings);
        });
    }
    template <class Map>
    void expect_relu(index_t rows, index_t C) {
        SCOPED_TRACE(testing::Message() << rows << " " << C);
        Random random(3);
        auto values = random.normals(rows * C);
        for (double& value : values) value = std::max(value, 0.0);
        values[0] = std::numeric_limits<double>::quiet_NaN();
        const auto map = rounded<Map>(values), d = rounded<Map>(random.normals(rows * C));
        const auto run = [&](const std::vector<Map>& d, bool summed, double tolerance,
                             const std::vector<double>& errors) {
            expect_parity(tolerance, [&](DeviceSide& side) {
                Map* const dmap = side.out(d);
                if (!summed) return relu_backward<Map>(side.exec, rows, C, side.in(map), dmap);
                double* const partial = side.scratch<double>(column_scratch(1, C));
                for (const bool accumulate : {false, true})
                    relu_backward_sums<Map>(side.exec, rows, C, side.in(map), dmap, accumulate,
                                            side.out(std::vector<real>(C, real{1}), errors), partial);
            });
        };
        run(d, false, 0, {0});
        run(d, true, kRounding<real>, test::column_sum_errors<real>(rows, C, C, d));
        // Sums of small integers are exact in any order: no row is lost or counted twice.
        run(rounded<Map>(random.integers<double>(rows * C)), true, 0, {0});
    }
    template <class Map>
    void expect_roundings(index_t rows, index_t C) {
        SCOPED_TRACE(testing::Message() << rows << " " << C);
        Random random(18);
        auto h = random.normals(rows * C);
        for (index_t i = 0; i < rows * C; i += 5) {  // on a rounding boundary, and tiny
            const auto q = static_cast<float>(h[i]);
            h[i] = i % 2 == 0 ? 0.5 * (static_cast<double>(q) + std::nextafter(q, 10.0f)) : 1e-9 * h[i];
        }
        auto rebuilt = h;
        for (double& x : rebuilt) x += 1e-10 * random.normal();
        const index_t words = rounding_words(rows, C);
        // Compare words as halves, so that every bit counts.
        const std::vector<std::uint32_t> halves(static_cast<std::size_t>(2 * words), 0x5a5a5a5a);
        expect_parity(0, [&](DeviceSide& side) {
            auto* const saved = reinterpret_cast<std::uint64_t*>(side.out(halves));
            save_roundings<Map>(side.exec, rows, C, side.in(h), saved);
            restore_roundings<Map>(side.exec, rows, C, saved, side.out(rebuilt));
        });
    }
    template <class T>
    void expect_permutations() {
        const index_t N = 2, H = 6, W = 4, C = 3;
        const auto h = rounded<T>(Random(4).normals(N * H * W * C * 4));
        const auto each = [&](auto run) {
            expect_parity(0, [&](DeviceSide& side) {
                run(side.exec, side.out(h), side.scratch<T>(static_cast<index_t>(h.size())));
            });
        };
        each([&](const Exec& p, T* x, T* scratch) { squeeze(p, N, 2 * H, 2 * W, C, x, scratch); });
        each([&](const Exec& p, T* x, T* scratch) { unsqueeze(p, N, 2 * H, 2 * W, C, x, scratch); });
        each([&](const Exec& p, T* x, T* scratch) { split_halves(p, N * H * W, 4 * C, x, scratch); });
        each([&](const Exec& p, T* x, T* scratch) { merge_halves(p, N * H * W, 4 * C, x, scratch); });
    }
};

INSTANTIATE_TEST_SUITE_P(Targets, KernelParity, testing::Values(test::kGpuPaths, test::kCuda),
                         test::target_name);

// Strides in whole packs (16 bytes at a time) and others.
TEST_P(KernelParity, Im2col) {
    for (const index_t C : {1, 6, 24})
        for (const bool edge : {false, true})
            for (const bool one : {false, true})
                for (const bool mirror : {false, true})
                    for (const index_t padding : {1, 8}) {
                        expect_im2col<state_t, real>(C, edge, one, mirror, padding);
                        expect_im2col<real, real>(C, edge, one, mirror, padding);
                        expect_im2col<state_t, bfloat16>(C, edge, one, mirror, padding);
                        expect_im2col<real, bfloat16>(C, edge, one, mirror, padding);
                    }
}

// The published shapes, images wider than a tile, blocks that start within an image, and so many channels
// that a tile is one pixel or less.
TEST_P(KernelParity, Im2colTiles) {
    for (const auto& [C, rows] : {std::pair<index_t, ImageRows>{6, {16, 16, 0, 32}},
                                  {12, {8, 8, 0, 16}},
                                  {24, {4, 4, 0, 12}},
                                  {3, {16, 40, 4, 20}},
                                  {3, {6, 33, 2, 9}},
                                  {700, {3, 5, 0, 3}},
                                  {3000, {2, 2, 0, 2}}})
        for (const bool mirror : {false, true}) {
            expect_im2col<state_t, real>(C, true, true, mirror, 8, rows);
            expect_im2col<state_t, bfloat16>(C, true, true, mirror, 8, rows);
            expect_im2col<real, bfloat16>(2 * C, false, false, mirror, 8, rows);
        }
}

TEST_P(KernelParity, Col2im) {
    const index_t H = 5, W = 6, N = 3, C = 7, target_stride = 9, stride = 64;
    Random random(5);
    const ImageRows rows{H, W, 3, 11};
    const auto columns = random.normals<real>(rows.pixels() * stride),
               target = random.normals<real>(N * H * W * target_stride);
    // Ten terms of normal numbers, each below 5.
    const double error = test::sum_error<real>(10, std::vector<double>(10, 5.0));
    for (const bool mirror : {false, true})
        expect_parity(0, [&](DeviceSide& side) {
            col2im(side.exec, rows, {C, false, false, stride}, mirror, side.in(columns),
                   side.out(target, {error}), target_stride);
        });
}

TEST_P(KernelParity, ZeroConvolution) {
    Random random(6);
    for (const index_t C : {3, 12, 40}) {
        const index_t H = 4, W = 5, N = 70, rows = N * H * W;
        const auto logs = random.normals<real>(C, 0.2), bias = random.normals<real>(C),
                   weight = random.normals<real>(C * 9 * 3), out = random.normals<real>(rows * C),
                   dout = random.normals<real>(rows * C);
        const auto scale = random.normals(C);
        expect_parity(kDouble, [&](DeviceSide& side) {
            exp_scale(side.exec, C, side.in(logs), side.out(nans<double>(C)));
        });
        for (const bool edge : {false, true})
            expect_parity(kFloat, [&](DeviceSide& side) {
                zero_convolution_finish(side.exec, {H, W, 0, N * H}, C, edge ? side.in(weight) : nullptr, 3,
                                        side.in(bias), side.in(scale), side.out(out));
            });
        expect_parity(kFloat, [&](DeviceSide& side) {
            zero_convolution_backward(side.exec, rows, C, side.in(scale), side.in(out), side.out(dout),
                                      {side.out(bias), side.out(logs)},
                                      side.scratch<double>(column_scratch(2, C)));
        });
        expect_parity(kFloat, [&](DeviceSide& side) {
            edge_weight_backward(side.exec, ImageRows::of_images(N, H, W), C, side.in(dout), side.out(weight),
                                 3, side.scratch<double>(column_scratch(9, C)));
        });
    }
    // Images of one row or column consist only of edge pixels.
    for (const auto& size : {std::pair<index_t, index_t>{1, 1}, {1, 4}, {4, 1}, {2, 2}}) {
        const index_t H = size.first, W = size.second;  // clang 14 cannot capture structured bindings
        const auto dpre = random.normals<real>(3 * H * W * 2);
        expect_parity(kFloat, [&](DeviceSide& side) {
            edge_weight_backward(side.exec, ImageRows::of_images(3, H, W), 2, side.in(dpre),
                                 side.out(std::vector<real>(18, real{1})), 1,
                                 side.scratch<double>(column_scratch(9, 2)));
        });
    }
}

TEST_P(KernelParity, Couplings) {
    Random random(7);
    for (const index_t C : {2, 12, 48}) {
        const index_t N = 3, rows = 40;
        const auto out = random.normals<real>(N * rows * C),
                   additive = random.normals<real>(N * rows * C / 2), dh = random.normals<real>(N * rows * C);
        const auto h = random.normals(N * rows * C), logdet = random.normals(N);
        const auto by_pixel = random.normals(N * rows);
        for (const CouplingScale scale : {CouplingScale::sigmoid, CouplingScale::tanh}) {
            expect_parity(kDouble, [&](DeviceSide& side) {
                affine_coupling_forward(side.exec, N, rows, C, {scale, side.in(out)}, side.out(h),
                                        side.out(logdet), side.scratch<double>(group_scratch(N)));
            });
            expect_parity(kDouble, [&](DeviceSide& side) {
                affine_coupling_forward_by_pixel(side.exec, N * rows, C, {scale, side.in(out)}, side.out(h),
                                                 side.out(by_pixel));
            });
            expect_parity(kDouble, [&](DeviceSide& side) {
                affine_coupling_inverse(side.exec, N * rows, C, {scale, side.in(out)}, side.out(h));
            });
            expect_parity(kFloat, [&](DeviceSide& side) {
                affine_coupling_backward(side.exec, N * rows, C, -0.3, {scale, side.in(out)},
                                         side.out(nans<real>(N * rows * C)), side.out(h), side.out(dh));
            });
        }
        expect_parity(kDouble, [&](DeviceSide& side) {
            additive_coupling_forward(side.exec, N * rows, C, side.in(additive), side.out(h));
        });
        expect_parity(kDouble, [&](DeviceSide& side) {
            additive_coupling_inverse(side.exec, N * rows, C, side.in(additive), side.out(h));
        });
        expect_parity(kFloat, [&](DeviceSide& side) {
            additive_coupling_backward(side.exec, N * rows, C, side.in(additive),
                                       side.out(nans<real>(N * rows * C / 2)), side.out(h), side.in(dh));
        });
    }
}

TEST_P(KernelParity, VariationalNoise) {
    for (const index_t D : {1, 48, 51}) {
        const index_t N = 3;
        Random random(9);
        const auto pixels = random.integers<std::uint8_t>(N * D, 0, 255);
        const std::vector<std::uint64_t> numbers = {5, 0, std::uint64_t{1} << 40};
        const auto logits = random.normals(N * D, 3), h = random.normals(N * D, 0.3),
                   sums = random.normals(N);
        const std::vector<real> dh = rounded<real>(random.normals(N * D));
        const auto noise = [&](DeviceSide& side) {
            return Noise{Dequantization::variational, 77, Purpose::dequantize, side.in(numbers)};
        };
        expect_parity(kDouble, [&](DeviceSide& side) {
            normal_noise(side.exec, N, D, noise(side), side.out(nans<double>(N * D)),
                         side.out(nans<double>(N)), side.scratch<double>(group_scratch(N)));
        });
        expect_parity(kDouble, [&](DeviceSide& side) {
            normal_noise_difference(side.exec, N, D, noise(side), side.in(h), side.out(sums),
                                    side.scratch<double>(group_scratch(N)));
        });
        expect_parity(kDouble, [&](DeviceSide& side) {
            dequantize_by_logits(side.exec, {N, D, 5, side.in(pixels)}, side.out(logits),
                                 side.out(nans<double>(N * D)), side.out(sums),
                                 side.scratch<double>(group_scratch(N)));
        });
        expect_parity(kDouble, [&](DeviceSide& side) {
            dequantize_by_logits_difference(side.exec, {N, D, 5, side.in(pixels)}, side.in(logits),
                                            side.in(h), side.out(nans<double>(N)),
                                            side.scratch<double>(group_scratch(N)));
        });
        expect_parity(kFloat, [&](DeviceSide& side) {
            dequantize_by_logits_backward(side.exec, N * D, 5, -0.3, side.in(logits), side.out(dh));
        });
    }
}

TEST_P(KernelParity, ConditionOfCoupling) {
    const index_t rows = 37, C = 6, E = 5;
    Random random(10);
    const auto h = random.normals(rows * C);
    const auto condition = rounded<real>(random.normals(rows * E)),
               dinput = rounded<real>(random.normals(rows * (C / 2 + E))),
               dh = rounded<real>(random.normals(rows * C));
    expect_parity(0, [&](DeviceSide& side) {
        join_condition(side.exec, rows, C, E, side.in(h), side.in(condition),
                       side.out(nans<state_t>(rows * (C / 2 + E))));
    });
    expect_parity(0, [&](DeviceSide& side) {
        join_condition_backward(side.exec, rows, C, E, side.in(dinput), side.out(dh), side.out(condition));
    });
}

TEST_P(KernelParity, Dequantization) {
    for (const index_t D : {1, 48, 51})
        for (const Dequantization kind : {Dequantization::center, Dequantization::uniform}) {
            const index_t N = 3;
            Random random(8);
            const auto pixels = random.integers<std::uint8_t>(N * D, 0, 255);
            const std::vector<std::uint64_t> numbers = {5, 0, std::uint64_t{1} << 40};
            auto h = random.normals(N * D, 0.3);
            h[D] = std::numeric_limits<double>::quiet_NaN();
            const auto noise = [&](DeviceSide& side) {
                return Noise{kind, 77, Purpose::dequantize, side.in(numbers)};
            };
            expect_parity(0, [&](DeviceSide& side) {
                dequantize(side.exec, {N, D, 5, side.in(pixels)}, noise(side), side.out(nans<double>(N * D)));
            });
            expect_parity(kDouble, [&](DeviceSide& side) {
                dequantize_difference(side.exec, {N, D, 5, side.in(pixels)}, noise(side), side.in(h),
                                      side.out(nans<double>(N)), side.scratch<double>(group_scratch(N)));
            });
            expect_parity(0, [&](DeviceSide& side) {
                largest_values(side.exec, N, D, side.in(h), side.out(nans<double>(N)),
                               side.scratch<double>(group_scratch(N)));
            });
            expect_parity(0, [&](DeviceSide& side) {
                quantize(side.exec, N * D, 5, side.in(h), side.out(std::vector<std::uint8_t>(N * D, 7)));
            });
        }
}

TEST_P(KernelParity, Gaussians) {
    Random random(9);
    const index_t N = 3, rows = 20, C = 6;
    for (const bool shared : {false, true}) {
        const Latents latents{N, rows, C, shared ? C : 2 * C};
        const GaussianLayout layout = shared ? shared_gaussian(C) : interleaved_gaussian(C);
        const index_t second = shared ? C : 1;
        const auto parameters = random.normals<real>((shared ? 1 : N) * rows * 2 * C, 0.3);
        const auto z = random.normals(N * rows * latents.z_stride), logp = random.normals(N);
        expect_parity(kDouble, [&](DeviceSide& side) {
            const real* const p = side.in(parameters);
            gaussian_log_density(side.exec, latents, {layout, p, p + second}, side.in(z), side.out(logp),
                                 side.scratch<double>(group_scratch(N)));
        });
        const auto by_pixel = random.normals(N * rows);
        expect_parity(kDouble, [&](DeviceSide& side) {
            const real* const p = side.in(parameters);
            gaussian_log_density_by_pixel(side.exec, latents, {layout, p, p + second}, side.in(z),
                                          side.out(by_pixel));
        });
        expect_parity(kDouble, [&](DeviceSide& side) {
            const real* const p = side.in(parameters);
            gaussian_encode(side.exec, latents, {layout, p, p + second}, side.out(z));
        });
        expect_parity(kDouble, [&](DeviceSide& side) {
            const real* const p = side.in(parameters);
            gaussian_decode(side.exec, latents, {layout, p, p + second}, side.out(z));
        });
        expect_parity(kFloat, [&](DeviceSide& side) {
            const real* const p = side.in(parameters);
            real* const dp = side.out(nans<real>(static_cast<index_t>(parameters.size())));
            gaussian_backward(side.exec, latents, {layout, p, p + second}, side.in(z), -0.3,
                              side.out(nans<real>(static_cast<index_t>(z.size()))), dp, dp + second);
        });
    }
    for (const index_t size : {1, 2, 3, 4, 50})
        expect_parity(kDouble, [&](DeviceSide& side) {
            gaussian_noise(side.exec, {3, 1, size, size}, 9, std::uint64_t{1} << 33, 2, 0.7,
                           side.out(nans<double>(3 * size)));
        });
}

TEST_P(KernelParity, BlockSums) {
    Random random(11);
    for (const index_t factor : {1, 2, 5}) {
        const index_t rows = 6, columns = 7;
        const auto fine = random.normals(rows * columns * factor * factor),
                   coarse = random.normals(rows * columns);
        expect_parity(kDouble, [&](DeviceSide& side) {
            add_block_sums(side.exec, rows, columns, factor, side.in(fine), side.out(coarse));
        });
    }
}

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
            expect_parity(0, [&](DeviceSide& side) {
                affine_rows(side.exec, rows, C, side.in(M), side.in(shift), side.out(h, errors));
            });
            expect_parity(0, [&](DeviceSide& side) {
                affine_rows_gradient(side.exec, rows, C, side.in(M), side.out(dh, gradient_errors));
            });
            expect_parity(0, [&](DeviceSide& side) {
                cast_with_one(side.exec, rows, C, side.in(h), side.out(nans<real>(rows * (C + 1))));
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
                expect_parity(0, [&](DeviceSide& side) {
                    state_t* const h = side.out(y, {state});
                    real* const dh = side.out(dy, {gradient});
                    const MixingGradients gradients{
                        side.out(std::vector<real>(C * (C + 1)), errors),
                        side.out(rounded<real>(W), dW_errors),
                        {side.out(bias, dbias_errors), side.out(logs, dlogs_errors)}};
                    MixingValues values{};
                    values.W = side.in(W);
                    values.W_inverse = side.in(W_inverse);
                    values.M = side.in(M);
                    values.M_inverse = side.in(M_inverse);
                    values.minus_bias = side.in(minus_bias);
                    const ActnormParameters actnorm{side.in(bias), side.in(logs)};
                    if (side.exec.tuned_for_gpu())
                        return mixing_backward(side.exec, C,
                                               {rows, given ? nullptr : h, given ? side.in(x) : nullptr, dh},
                                               values, actnorm, 0.7, gradients,
                                               side.scratch<real>(mixing_backward_scratch(rows, C)));
                    if (!given) std::copy(x.begin(), x.end(), h);
                    affine_rows_gradient(side.exec, rows, C, values.M, dh);
                    std::copy(dMc.begin(), dMc.end(), gradients.dMc);
                    dense_weight_gradient(side.exec, C, dMc.data(), values.W_inverse, actnorm, 0.7,
                                          gradients.dW);
                    actnorm_gradient(side.exec, C, dMc.data(), values.W, actnorm, 0.7, gradients.actnorm);
                });
        }
    EXPECT_TRUE(has_mixing_backward(target(), 48));
    EXPECT_FALSE(has_mixing_backward(target(), 96));  // a block has too few threads for its sums
    EXPECT_FALSE(has_mixing_backward(target(), 6));   // rows of whole packs only
    EXPECT_FALSE(has_mixing_backward(test::cpu(), 12));
}

TEST_P(KernelParity, Folding) {
    for (const auto& [out, K, stride] :
         {std::array<index_t, 3>{7, 13, 16}, {512, 63, 64}, {33, 300, 300}, {1, 1, 8}, {5, 1000, 1008}})
        expect_folding(out, K, stride);
    Random random(11);
    const index_t C = 5, w = 40, stride = 48;
    for (const bool edge : {false, true})
        for (const TapOrder order : {TapOrder::taps_first, TapOrder::outputs_first}) {
            expect_folded_networks<real>(edge, order);
            expect_folded_networks<bfloat16>(edge, order);
            const auto W = random.normals<real>(C * 9 * (w + edge)), d = random.normals<real>(stride * w);
            expect_parity(kFloat, [&](DeviceSide& side) {
                unfold_network(side.exec, {}, {},
                               {C, w, edge, order, side.in(d), nullptr, 0, side.out(W), nullptr, nullptr});
            });
            expect_unfolded_network(edge, order);
        }
}

TEST_P(KernelParity, Relu) {
    for (const index_t rows : {1, 65, 1000})
        for (const index_t C : {1, 8, 33, 64, 512}) {
            if (rows == 1000 && C == 512) continue;
            expect_relu<real>(rows, C);
            expect_relu<bfloat16>(rows, C);
        }
}

TEST_P(KernelParity, Moments) {
    Random random(12);
    for (const index_t rows : {1, 63, 5000}) {
        const index_t C = 7, stride = 9;
        const auto x = random.normals(rows * stride), moments = random.normals(2 * C);
        auto squares = x;
        for (double& value : squares) value *= value;
        std::vector<double> errors = test::column_sum_errors<double>(rows, C, stride, x);
        for (const double error : test::column_sum_errors<double>(rows, C, stride, squares))
            errors.push_back(error);
        expect_parity(kDouble, [&](DeviceSide& side) {
            add_moments(side.exec, rows, C, side.in(x), stride, side.out(moments, errors),
                        side.scratch<double>(column_scratch(2, C)));
        });
        std::vector<double> sane = moments;
        for (index_t c = 0; c < C; ++c) sane[C + c] = 100 + sane[c] * sane[c];
        expect_parity(kFloat, [&](DeviceSide& side) {
            actnorm_from_moments(side.exec, 10, C, side.in(sane), side.out(nans<real>(C)),
                                 side.out(nans<real>(C)));
        });
    }
    expect_parity(0, [&](DeviceSide& side) {
        double* const x = side.out(nans<double>(1000));
        fill(side.exec, 1000, 2.5, x);
        copy(side.exec, 1000, x, side.out(nans<double>(1000)));
    });
}

TEST_P(KernelParity, SavedStates) {
    for (const auto& [rows, C] : {std::pair<index_t, index_t>{1, 4}, {61, 12}, {62, 12}, {500, 24}}) {
        expect_roundings<float>(rows, C);
        expect_roundings<bfloat16>(rows, C);
    }
    const auto h = Random(19).normals(1000);
    expect_parity(0, [&](DeviceSide& side) {
        float* const saved = side.out(nans<float>(1000));
        save_float(side.exec, 1000, side.in(h), saved);
        restore_float(side.exec, 1000, saved, side.out(nans<double>(1000)));
    });
}

TEST_P(KernelParity, Permutations) {
    expect_permutations<double>();
    expect_permutations<real>();
}

TEST_P(KernelParity, Optimizer) {
    Random random(13);
    for (const index_t count : {1, 16, 1000, 1001})
        for (const bool adam : {false, true})
            for (const bool averaged : {false, true}) {
                OptimizerStep step;
                step.adam = adam;
                step.lr_t = 0.01;
                step.weight_decay = 0.1;
                step.gradient_scale = 0.5;
                step.ema_rate = 0.2;
                auto v = random.normals<real>(count);
                for (real& x : v) x = std::abs(x);
                const auto g = random.normals<real>(count), w = random.normals<real>(count),
                           m = random.normals<real>(count), ema = random.normals<real>(count);
                expect_parity(kFloat, [&](DeviceSide& side) {
                    optimizer_step(side.exec, count, step, side.in(g),
                                   OptimizerArrays{side.out(w), side.out(m), side.out(v),
                                                   averaged ? side.out(ema) : nullptr});
                });
                // bf16: equal bits unless the rounded value differs in its last digit; also for guarded
                // updates.
                std::vector<bfloat16> m_bf16, v_bf16;
                for (const real x : m) m_bf16.push_back(round_to<bfloat16>(x));
                for (const real x : v) v_bf16.push_back(round_to<bfloat16>(x));
                expect_parity(1e-2, [&](DeviceSide& side) {
                    optimizer_step(side.exec, count, step, side.in(g),
                                   OptimizerArrays{side.out(w), side.out(m_bf16), side.out(v_bf16),
                                                   averaged ? side.out(ema) : nullptr});
                });
                expect_parity(kFloat, [&](DeviceSide& side) {
                    optimizer_step(side.exec, count, side.in(std::vector<OptimizerStep>{step}),
                                   side.in(std::vector<double>{1.0}), side.in(g),
                                   OptimizerArrays{side.out(w), side.out(m), side.out(v),
                                                   averaged ? side.out(ema) : nullptr, 0});
                });
            }
    for (const index_t count : {1, 16384, 16385, 100003}) {
        const auto x = random.normals<real>(count);
        expect_parity(kDouble, [&](DeviceSide& side) {
            sum_of_squares(side.exec, count, side.in(x), side.out(nans<double>(1)),
                           side.scratch<double>(square_scratch()));
        });
        expect_parity(0, [&](DeviceSide& side) {  // integers: exact in any order
            checksum(side.exec, count, side.in(x), side.out(nans<double>(1)),
                     side.scratch<double>(square_scratch()));
        });
    }
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
        expect_parity(kDouble, [&](DeviceSide& side) {
            dense_weight(side.exec, K, C, stride, side.in(parameters), side.out(nans<double>(n)));
        });
        expect_parity(kDouble, [&](DeviceSide& side) {
            const real* const p = side.in(parameters);
            lu_weight(side.exec, K, C, stride, fixed_stride, factors(p, side.in(fixed)),
                      side.out(nans<double>(n)));
            lu_log_determinant(side.exec, K, C, stride, p, side.out(nans<double>(K)));
        });
        for (const bool reversed : {false, true})
            expect_parity(0, [&](DeviceSide& side) {
                MixingValues values{};
                values.W = side.out(nans<double>(n));
                values.W_inverse = side.out(nans<double>(n));
                values.mixing_logdet = side.out(nans<double>(K));
                values.condition = side.out(nans<double>(K));
                permutation_weight(side.exec, K, C, fixed_stride, reversed ? nullptr : side.in(fixed),
                                   values);
            });
        auto biases = random.normals<real>(K * stride, 0.2), scales = random.normals<real>(K * stride, 0.2);
        biases[stride + 1] = std::numeric_limits<real>::infinity();
        const auto W = random.normals(n), inverse = random.normals(n);
        expect_parity(kDouble, [&](DeviceSide& side) {
            fold_mixing(side.exec, K, C, 64, stride, {side.in(biases), side.in(scales)},
                        {side.in(W), side.in(inverse), side.out(nans<double>(n)), side.out(nans<double>(n)),
                         side.out(nans<double>(K * C)), side.out(nans<double>(K * C)),
                         side.out(std::vector<double>(K, 1.5)), side.out(nans<double>(K)),
                         side.out(std::vector<double>(K, 2.0))});
        });
        expect_parity(0, [&](DeviceSide& side) { add_to_all(side.exec, n, side.in(W), side.out(inverse)); });
        const auto dMc = random.normals<real>(C * (C + 1)), bias = random.normals<real>(C, 0.2),
                   logs = random.normals<real>(C, 0.2);
        expect_parity(kFloat, [&](DeviceSide& side) {
            dense_weight_gradient(side.exec, C, side.in(dMc), side.in(inverse),
                                  {side.in(bias), side.in(logs)}, 0.7, side.out(parameters));
        });
        expect_parity(kFloat, [&](DeviceSide& side) {
            actnorm_gradient(side.exec, C, side.in(dMc), side.in(W), {side.in(bias), side.in(logs)}, 0.7,
                             {side.out(bias), side.out(logs)});
        });
        expect_parity(kFloat, [&](DeviceSide& side) {
            lu_gradient(side.exec, C, side.in(dMc), factors(side.in(parameters), side.in(fixed)),
                        {side.in(bias), side.in(logs)}, 0.7, side.scratch<double>(C * C),
                        {side.out(bias), side.out(std::vector<real>(C * C, real{1})),
                         side.out(std::vector<real>(C * C, real{1}))});
        });
    }
}

TEST_P(KernelParity, Classes) {
    Random random(16);
    const index_t N = 5, pixels = 4, C = 6, J = 2 * C, classes = 3;
    const std::vector<std::int32_t> labels = {2, 0, 1, 1, 2};
    const auto weight = random.normals<real>(classes * J), bias = random.normals<real>(J),
               logs = random.normals<real>(J, 0.2), map = random.normals<real>(pixels * J),
               maps = random.normals<real>(N * pixels * J);
    const auto sums = random.normals(N * J), z = random.normals(N * pixels * C);
    expect_parity(kFloat, [&](DeviceSide& side) {
        class_vectors(side.exec, classes, J, side.in(weight), side.in(bias), side.in(logs),
                      side.out(nans<real>(classes * J)));
    });
    expect_parity(kFloat, [&](DeviceSide& side) {
        class_maps(side.exec, N, pixels, J, side.in(map), side.in(weight), side.in(labels),
                   side.out(nans<real>(N * pixels * J)));
    });
    expect_parity(kFloat, [&](DeviceSide& side) {
        class_maps_backward(side.exec, N, pixels, J, side.in(maps), side.out(nans<real>(pixels * J)),
                            side.out(nans<double>(N * J)));
    });
    expect_parity(kFloat, [&](DeviceSide& side) {
        class_vectors_backward(side.exec, {N, classes, J, side.in(labels), side.in(sums)}, side.in(weight),
                               side.in(logs), {side.out(weight), side.out(bias), side.out(logs)});
    });
    const auto linear = random.normals<real>(C * classes);
    const auto means = random.normals(N * C);
    const auto logits = random.normals(N * classes);
    std::vector<double> probabilities(N * classes, 1.0 / 3);
    expect_parity(kDouble, [&](DeviceSide& side) {
        spatial_mean(side.exec, N, pixels, C, side.in(z), side.out(nans<double>(N * C)));
        class_logits(side.exec, N, C, classes, side.in(means),
                     {side.in(linear), side.in(bias), side.in(logs)}, side.out(nans<double>(N * classes)));
        cross_entropy(side.exec, N, classes, side.in(labels), side.out(logits), side.out(nans<double>(N)),
                      side.out(nans<double>(N)));
    });
    expect_parity(kFloat, [&](DeviceSide& side) {
        classifier_backward(
            side.exec, {N, pixels, C, classes, side.in(labels), side.in(means), side.in(probabilities)},
            {side.in(linear), side.in(bias), side.in(logs)}, 0.3, side.out(nans<double>(N * classes)),
            {side.out(linear), side.out(bias), side.out(logs)}, side.out(maps));
    });
}

TEST_P(KernelParity, StepSums) {
    for (const index_t N : {1, 5, 1000}) {
        Random random(17);
        const auto logdet = random.normals(N), prior = random.normals(N), bits = random.normals(N);
        auto difference = random.normals(N);
        // The density sum contains both sets of terms.
        const double error = test::sum_error<double>(2 * N + 1, logdet) +
                             test::sum_error<double>(2 * N + 1, prior) + test::sum_error<double>(N, bits);
        for (const bool broken : {false, true}) {
            if (broken) difference[N / 2] = std::numeric_limits<double>::quiet_NaN();
            expect_parity(kDouble, [&](DeviceSide& side) {
                auto* const sums =
                    reinterpret_cast<StepSums*>(side.out(std::vector<double>{1, 2, 3, 0.5, 7}, {error}));
                add_step_sums(side.exec, N,
                              {side.in(logdet), side.in(prior), side.in(bits), nullptr, side.in(difference)},
                              sums, side.scratch<double>(group_scratch(1)));
            });
        }
    }
}

TEST_P(KernelParity, Matrices) {
    Random random(14);
    const index_t m = 9, n = 21, stride = 24, count = 3;
    const auto C = random.normals<real>(m * stride), bias = random.normals<real>(n);
    const auto narrow = rounded<bfloat16>(random.normals(m * stride));
    for (const bool with_bias : {false, true}) {
        expect_parity(kFloat, [&](DeviceSide& side) {
            bias_relu(side.exec, m, n, stride, with_bias ? side.in(bias) : nullptr, side.out(C));
        });
        expect_parity(kNarrow, [&](DeviceSide& side) {
            bias_relu(side.exec, m, n, stride, with_bias ? side.in(bias) : nullptr, side.out(narrow));
        });
    }
    expect_parity(0, [&](DeviceSide& side) { cast(side.exec, m, side.in(C), side.out(nans<bfloat16>(m))); });
    expect_parity(0, [&](DeviceSide& side) { identity(side.exec, n, side.out(nans<double>(n * n))); });
    // Addresses differ between devices, contents must not.
    const std::vector<double> matrices = random.normals(count * n);
    for (const Exec& exec : {test::cpu(), target()}) {
        DeviceSide side(exec);
        double* const first = side.in(matrices);
        auto** const pointers = reinterpret_cast<double**>(side.in(std::vector<std::uint64_t>(count)));
        row_pointers(exec, count, n, first, pointers);
        const std::vector<double*> found = downloaded(exec, count, pointers);
        for (index_t k = 0; k < count; ++k) EXPECT_EQ(found[k], first + k * n);
    }
    auto W = random.normals(count * n * n), inverse = random.normals(count * n * n);
    W[n * n + 5] = std::numeric_limits<double>::infinity();
    inverse[2 * n * n + 7] = std::numeric_limits<double>::quiet_NaN();
    const std::vector<int> failed = {0, 0, 0};
    expect_parity(kDouble, [&](DeviceSide& side) {
        log_abs_diagonal(side.exec, count, n, side.in(inverse), side.out(nans<double>(count)));
        condition_numbers(side.exec, count, n,
                          {side.in(W), side.in(inverse), side.in(failed), side.in(failed)},
                          side.out(nans<double>(count)), side.scratch<double>(group_scratch(count)));
    });
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

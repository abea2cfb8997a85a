
#include "kernels/actnorm_fold.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>

#include "kernels/activation.h"
#include "kernels/actnorm_init.h"
#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/math.h"
#include "kernels/reduce.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

constexpr real kNaN = std::numeric_limits<real>::quiet_NaN();

TEST(FoldActnorm, ScalesWeightsAndAppendsBiasColumn) {
    test::Random random(1);
    const index_t out = 7, K = 13;
    const std::vector<real> W = random.normals<real>(out * K), bias = random.normals<real>(out),
                            logs = random.normals<real>(out, 0.2);
    for (const index_t stride : {13, 14, 16}) {
        std::vector<real> folded(out * stride, kNaN);
        fold_actnorm(test::cpu(), out, K, stride, W.data(), bias.data(), logs.data(), folded.data());
        for (index_t o = 0; o < out; ++o) {
            const double s = std::exp(3.0 * logs[o]);
            for (index_t k = 0; k < stride; ++k) {
                const double expected = k < K ? s * W[o * K + k] : k == K ? s * bias[o] : 0;
                ASSERT_NEAR(folded[o * stride + k], expected, 1e-7 * std::abs(expected));  // rounded once
            }
        }
    }
}

TEST(UnfoldActnorm, AccumulatesGradients) {
    test::Random random(2);
    const index_t out = 5, K = 11, stride = 16;
    const std::vector<real> W = random.normals<real>(out * K), bias = random.normals<real>(out),
                            logs = random.normals<real>(out, 0.2), d = random.normals<real>(out * stride),
                            dc = random.normals<real>(out);
    for (const bool separate : {false, true}) {
        std::vector<real> dW(out * K, real{1}), dbias(out, real{2}), dlogs(out, real{3});
        unfold_actnorm(test::cpu(), {out, K, stride, W.data(), bias.data(), logs.data(), d.data(),
                                     separate ? dc.data() : nullptr, dW.data(), dbias.data(), dlogs.data()});
        for (index_t o = 0; o < out; ++o) {
            const double s = std::exp(3.0 * logs[o]), c = separate ? dc[o] : d[o * stride + K];
            double sum = c * bias[o];
            for (index_t k = 0; k < K; ++k) {
                sum += static_cast<double>(d[o * stride + k]) * W[o * K + k];
                ASSERT_NEAR(dW[o * K + k], 1 + s * d[o * stride + k], 1e-6 * (1 + s));
            }
            ASSERT_NEAR(dbias[o], 2 + s * c, 1e-6 * (2 + s));
            ASSERT_NEAR(dlogs[o], 3 + 3 * s * sum, 1e-6 * (3 + 3 * s * std::abs(sum)));
        }
    }
}

// Levels of different shapes with several networks each, and other parameters between them.
template <class Map>
void expect_folded_networks(TapOrder order, bool edge, double rounding) {
    test::Random random(3);
    struct Level {
        index_t networks, w, K, stride, C, rows3;
        std::vector<real> parameters;
        std::vector<Map> conv1, conv2, conv3;
        std::vector<real> bias2;
        std::vector<double> scale3;
    };
    std::vector<Level> levels = {{3, 5, 9, 16, 3, 32, {}, {}, {}, {}, {}, {}},
                                 {1, 8, 8, 8, 1, 9, {}, {}, {}, {}, {}, {}},
                                 {2, 40, 19, 24, 5, 48, {}, {}, {}, {}, {}, {}}};
    const auto layout = [&](Level& level, index_t network) {
        const index_t depth = level.w + (edge ? 1 : 0), gap = 7;
        const index_t sizes[] = {level.w * level.K, level.w, level.w, level.w * level.w,        level.w,
                                 level.w,           level.C, level.C, level.C * 9 * depth + gap};
        index_t step = 0;
        for (const index_t size : sizes) step += size;
        level.parameters.resize(level.networks * step);
        std::vector<const real*> at;
        const real* next = level.parameters.data() + network * step;
        for (const index_t size : sizes) at.push_back(std::exchange(next, next + size));
        at.push_back(level.parameters.data() + step);
        return at;  // W1, bias1, logs1, W2, bias2, logs2, bias3, logs3, W3; the second network's W1
    };
    std::vector<NetworkFolding<Map>> foldings;
    for (Level& level : levels) {
        layout(level, 0);
        level.parameters = random.normals<real>(std::ssize(level.parameters), 0.3);
        const auto [n, w, K, stride, C, rows3] =
            std::tuple(level.networks, level.w, level.K, level.stride, level.C, level.rows3);
        level.conv1.assign(n * w * stride, round_to<Map>(kNaN));
        level.conv2.assign(n * w * w, round_to<Map>(kNaN));
        level.conv3.assign(n * rows3 * w, round_to<Map>(kNaN));
        level.bias2.assign(n * (w + 3), real{99});
        level.scale3.assign(n * C, 99);
        const std::vector<const real*> at = layout(level, 0);
        foldings.push_back({n,
                            at[9] - at[0],
                            w,
                            K,
                            stride,
                            C,
                            rows3,
                            edge,
                            order,
                            at[0],
                            at[1],
                            at[2],
                            at[3],
                            at[4],
                            at[5],
                            at[8],
                            at[7],
                            level.conv1.data(),
                            level.conv2.data(),
                            level.conv3.data(),
                            level.bias2.data(),
                            w + 3,
                            level.scale3.data()});
    }
    fold_networks<Map>(test::cpu(), foldings);
    for (Level& level : levels)
        for (index_t n = 0; n < level.networks; ++n) {
            const std::vector<const real*> at = layout(level, n);
            const index_t w = level.w, K = level.K, stride = level.stride, C = level.C;
            const auto expect = [&](double found, double expected) {
                ASSERT_NEAR(found, expected, rounding * std::abs(expected));
            };
            for (index_t o = 0; o < w; ++o) {
                const double s1 = std::exp(3.0 * at[2][o]), s2 = std::exp(3.0 * at[5][o]);
                for (index_t k = 0; k < stride; ++k)
                    expect(widen(level.conv1[(n * w + o) * stride + k]), k < K    ? s1 * at[0][o * K + k]
                                                                         : k == K ? s1 * at[1][o]
                                                                                  : 0);
                for (index_t k = 0; k < w; ++k)
                    expect(widen(level.conv2[(n * w + o) * w + k]), s2 * at[3][o * w + k]);
                ASSERT_NEAR(level.bias2[n * (w + 3) + o], s2 * at[4][o], 1e-7 * std::abs(s2 * at[4][o]));
            }
            for (index_t i = w; i < w + 3; ++i) ASSERT_EQ(level.bias2[n * (w + 3) + i], real{99});
            for (index_t row = 0; row < level.rows3; ++row) {
                const index_t from = order == TapOrder::taps_first ? (row % C) * 9 + row / C : row;
                for (index_t i = 0; i < w; ++i)
                    expect(widen(level.conv3[(n * level.rows3 + row) * w + i]),
                           row < 9 * C ? at[8][from * (w + (edge ? 1 : 0)) + i] : 0);
            }
            for (index_t c = 0; c < C; ++c)
                ASSERT_NEAR(level.scale3[n * C + c], std::exp(3.0 * at[7][c]),
                            1e-14 * level.scale3[n * C + c]);
        }
}
TEST(FoldNetworks, MatchesFormulaForAllNetworks) {
    for (const TapOrder order : {TapOrder::taps_first, TapOrder::outputs_first})
        for (const bool edge : {false, true}) {
            SCOPED_TRACE(testing::Message() << "edge " << edge << " order " << static_cast<int>(order));
            expect_folded_networks<real>(order, edge, 1e-7);
            expect_folded_networks<bfloat16>(order, edge, 4e-3);
        }
}
TEST(FoldNetworks, RejectsTooManyLevels) {
    const std::vector<NetworkFolding<real>> levels(kMaxFoldings + 1);
    EXPECT_THROW(fold_networks<real>(test::cpu(), levels), Error);
}

TEST(UnfoldNetwork, AddsRowsExceptEdge) {
    test::Random random(4);
    const index_t C = 3, w = 5;
    for (const bool edge : {false, true})
        for (const TapOrder order : {TapOrder::taps_first, TapOrder::outputs_first}) {
            const index_t depth = w + (edge ? 1 : 0);
            const std::vector<real> packed = random.normals<real>(9 * C * w);
            std::vector<real> dW(C * 9 * depth, real{1});
            for (int time = 0; time < 2; ++time)
                unfold_network(test::cpu(), {.conv3 = {C, w, edge, order, packed.data(), nullptr, 0,
                                                       dW.data(), nullptr, nullptr}});
            for (index_t c = 0; c < C; ++c)
                for (index_t tap = 0; tap < 9; ++tap)
                    for (index_t i = 0; i < depth; ++i) {
                        const index_t row = order == TapOrder::taps_first ? tap * C + c : c * 9 + tap;
                        const real expected = i < w ? 1 + packed[row * w + i] + packed[row * w + i] : 1;
                        ASSERT_NEAR(dW[(c * 9 + tap) * depth + i], expected, 1e-6);
                    }
        }
}

template <class Map>
void expect_relu_backward() {
    test::Random random(4);
    const index_t rows = 200, C = 33;
    std::vector<Map> map(rows * C), d(rows * C);
    for (Map& value : map) value = round_to<Map>(std::max(0.0, random.normal()));
    for (Map& value : d) value = round_to<Map>(random.normal());
    std::vector<Map> plain = d, summed = d;
    std::vector<real> sums(C, real{1});
    std::vector<double> partial(column_scratch(1, C));
    relu_backward<Map>(test::cpu(), rows, C, map.data(), plain.data());
    relu_backward_sums<Map>(test::cpu(), rows, C, map.data(), summed.data(), true, sums.data(),
                            partial.data());
    for (index_t c = 0; c < C; ++c) {
        double sum = 1;
        for (index_t row = 0; row < rows; ++row) {
            const index_t i = row * C + c;
            const double expected = widen(map[i]) > 0 ? widen(d[i]) : 0;  // relu'(0) = 0
            ASSERT_EQ(widen(plain[i]), expected);
            ASSERT_EQ(widen(summed[i]), expected);
            sum += expected;
        }
        ASSERT_NEAR(sums[c], sum, 1e-6 * (1 + std::abs(sum)));
    }
}

TEST(ReluBackward, MasksAndSums) {
    expect_relu_backward<real>();
    expect_relu_backward<bfloat16>();
}

// A GPU adds up one map's column sums in the kernel that masks another: the bits of separate kernels.
template <class Map>
void expect_sums_finished_later(index_t rows, index_t C) {
    SCOPED_TRACE(testing::Message() << rows << " " << C);
    const Exec gpu_paths{Device::cpu, 2, nullptr, true};
    test::Random random(6);
    std::vector<Map> map(rows * C), d(rows * C);
    for (Map& value : map) value = round_to<Map>(std::max(0.0, random.normal()));
    for (Map& value : d) value = round_to<Map>(random.normal());
    std::vector<double> partial(column_scratch(1, C));
    for (const bool accumulate : {false, true}) {
        std::vector<Map> summed = d, masked = d, later_summed = d, later_masked = d;
        std::vector<real> sums(C, real{1}), later_sums(C, real{1});
        relu_backward_sums<Map>(gpu_paths, rows, C, map.data(), summed.data(), accumulate, sums.data(),
                                partial.data());
        relu_backward<Map>(gpu_paths, rows, C, summed.data(), masked.data());
        const UnfinishedSums unfinished =
            start_relu_backward_sums<Map>(gpu_paths, rows, C, map.data(), later_summed.data(), accumulate,
                                          later_sums.data(), partial.data());
        relu_backward<Map>(gpu_paths, rows, C, later_summed.data(), later_masked.data(), unfinished);
        const auto bits_equal = [](const std::vector<Map>& a, const std::vector<Map>& b) {
            return std::memcmp(a.data(), b.data(), a.size() * sizeof(Map)) == 0;
        };
        EXPECT_EQ(later_sums, sums);
        EXPECT_TRUE(bits_equal(later_summed, summed));
        EXPECT_TRUE(bits_equal(later_masked, masked));
    }
}

TEST(ReluBackward, FinishesSumsLaterWithTheSameBits) {
    for (const index_t rows : {1, 65, 300})
        for (const index_t C : {8, 33, 64}) {
            expect_sums_finished_later<real>(rows, C);
            expect_sums_finished_later<bfloat16>(rows, C);
        }
}

TEST(Moments, NormalizeActnorm) {
    test::Random random(5);
    const index_t rows = 5000, C = 6, stride = 8;
    std::vector<double> x(rows * stride, std::numeric_limits<double>::quiet_NaN());
    for (index_t row = 0; row < rows; ++row)
        for (index_t c = 0; c < C; ++c)
            x[row * stride + c] = c == 5 ? 3.0 : 10.0 * c + std::pow(10.0, c - 2) * random.normal();
    std::vector<double> moments(2 * C, 0.0), partial(column_scratch(2, C));
    add_moments(test::cpu(), 2000, C, x.data(), stride, moments.data(), partial.data());  // in two calls
    add_moments(test::cpu(), rows - 2000, C, x.data() + 2000 * stride, stride, moments.data(),
                partial.data());
    std::vector<real> bias(C), logs(C);
    actnorm_from_moments(test::cpu(), rows, C, moments.data(), bias.data(), logs.data());
    for (index_t c = 0; c < C; ++c) {
        double mean = 0, square = 0;
        for (index_t row = 0; row < rows; ++row) {
            const double y = (x[row * stride + c] + bias[c]) * std::exp(3.0 * logs[c]);
            mean += y / rows;
            square += y * y / rows;
        }
        // bias is a float: error 6e-8 of the mean, in units of the deviation (0.01 c).
        EXPECT_NEAR(mean, 0, 1e-5);
        // A constant channel has deviation 0: the scale is bounded by 1e6 and the output stays zero.
        if (c < 5)
            EXPECT_NEAR(square, 1, 3e-4);  // 1e-6 is added to the smallest deviation, 0.01
        else
            EXPECT_NEAR(logs[c], std::log(1e6) / 3, 1e-5);
    }
}

// Also where a GPU's packs of 16 bytes are not whole, or values are not aligned to them.
TEST(Fill, FillTouchesOnlyItsElements) {
    for (const bool use_gpu_paths : {false, true})
        for (const int begin : {0, 1})
            for (const int count : {0, 1, 3, 20000, 20001, 20003}) {
                std::vector<float> values(20008, 1.0f), expected = values;
                std::fill_n(expected.begin() + begin, count, 2.0f);
                fill({Device::cpu, 2, nullptr, use_gpu_paths}, count, 2.0f, values.data() + begin);
                EXPECT_EQ(values, expected) << use_gpu_paths << " " << begin << " " << count;
            }
}

TEST(Copy, CopyTouchesOnlyItsElements) {
    const std::vector<float> values(20001, 2.0f);
    std::vector<float> other(20001, 5.0f);
    copy(test::cpu(), 20000, values.data(), other.data());
    EXPECT_EQ(other[19999], 2.0f);
    EXPECT_EQ(other[20000], 5.0f);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

// im2col and col2im against direct convolution. The data are small integers, for which float arithmetic is
// exact, so results are compared for equality.
#include "kernels/convolution.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/math.h"
#include "kernels/reduce.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

constexpr real kUnwritten = std::numeric_limits<real>::quiet_NaN();

struct Size {
    index_t N, H, W;
};
const Size kSizes[] = {{1, 1, 1}, {2, 1, 2}, {2, 2, 1}, {2, 2, 2},
                       {3, 3, 1}, {2, 1, 5}, {2, 3, 4}, {3, 5, 3}};

// Blocks of image rows [begin, end), `step` at a time; they cut images if step does not divide H.
template <class F>
void for_each_block(const Size& size, index_t step, F f) {
    for (index_t begin = 0; begin < size.N * size.H; begin += step)
        f(ImageRows{size.H, size.W, begin, std::min(begin + step, size.N * size.H)});
}

// y [N*H*W, O]: reference convolution by the specification, weight [O, 3, 3, C + edge].
std::vector<double> convolve(const Size& size, index_t C, bool edge, index_t O, const std::vector<double>& x,
                             index_t x_stride, const std::vector<double>& weight) {
    const auto& [N, H, W] = size;
    const index_t depth = C + (edge ? 1 : 0);
    std::vector<double> y(N * H * W * O, 0.0);
    for (index_t n = 0; n < N; ++n)
        for (index_t r = 0; r < H; ++r)
            for (index_t s = 0; s < W; ++s)
                for (index_t o = 0; o < O; ++o)
                    for (index_t kh = 0; kh < 3; ++kh)
                        for (index_t kw = 0; kw < 3; ++kw) {
                            const index_t p = r + kh - 1, q = s + kw - 1;
                            const double* const w = &weight[((o * 3 + kh) * 3 + kw) * depth];
                            double& out = y[((n * H + r) * W + s) * O + o];
                            if (p < 0 || p >= H || q < 0 || q >= W) {
                                if (edge) out += w[C];
                                continue;
                            }
                            for (index_t c = 0; c < C; ++c)
                                out += w[c] * x[((n * H + p) * W + q) * x_stride + c];
                        }
    return y;
}

template <class S, class Map>
void expect_im2col_convolves(const Size& size, index_t C) {
    test::Random random(1);
    for (const bool edge : {false, true})
        for (const bool one : {false, true})
            for (const index_t step : {1, 2, 3, 100}) {
                const index_t pixels = size.N * size.H * size.W, O = 2, x_stride = C + 2;
                const Columns layout{C, edge, one, (9 * (C + edge) + one + 7) / 8 * 8};
                std::vector<double> x = random.integers<double>(pixels * x_stride);
                const std::vector<double> w = random.integers<double>(O * 9 * layout.per_tap());
                std::vector<S> source(x.begin(), x.end());
                for (index_t p = 0; p < pixels; ++p)  // must not be read
                    for (index_t c = C; c < x_stride; ++c) source[p * x_stride + c] = S(kUnwritten);
                const std::vector<double> y = convolve(size, C, edge, O, x, x_stride, w);

                for_each_block(size, step, [&](const ImageRows& rows) {
                    std::vector<Map> columns(rows.pixels() * layout.stride, round_to<Map>(kUnwritten));
                    im2col(test::cpu(), rows, layout, Taps::direct, source.data(), x_stride, columns.data());
                    const index_t used = 9 * layout.per_tap();
                    for (index_t p = 0; p < rows.pixels(); ++p) {
                        const Map* const column = &columns[p * layout.stride];
                        for (index_t o = 0; o < O; ++o) {
                            double sum = 0;
                            for (index_t k = 0; k < used; ++k) sum += w[o * used + k] * widen(column[k]);
                            ASSERT_EQ(sum, y[(rows.begin * size.W + p) * O + o]);
                        }
                        for (index_t k = used; k < layout.stride; ++k)
                            ASSERT_EQ(widen(column[k]), one && k == used ? 1 : 0);
                    }
                });
            }
}

template <class S, class Map>
void expect_im2col_convolves() {
    for (const Size& size : kSizes)
        for (const index_t C : {1, 3}) expect_im2col_convolves<S, Map>(size, C);
    for (const index_t C : {6, 12, 24}) expect_im2col_convolves<S, Map>({2, 3, 4}, C);
    expect_im2col_convolves<S, Map>({1, 2, 450}, 6);  // an image row in three parts
    expect_im2col_convolves<S, Map>({1, 2, 3}, 456);  // taps too long for the lines
}

TEST(Im2col, TimesWeightsIsConvolution) {
    expect_im2col_convolves<state_t, real>();
    expect_im2col_convolves<real, real>();
    expect_im2col_convolves<state_t, bfloat16>();
    expect_im2col_convolves<real, bfloat16>();
}

TEST(Im2col, RoundsStateToNetworkType) {
    const double x = 1.0 + 0x1p-30;
    float column[9];
    im2col(test::cpu(), {1, 1, 0, 1}, {1, false, false, 9}, Taps::direct, &x, 1, column);
    EXPECT_EQ(column[4], 1.0f);
    bfloat16 narrow[9];
    const double y = 1.0 + 0x1p-9;
    im2col(test::cpu(), {1, 1, 0, 1}, {1, false, false, 9}, Taps::direct, &y, 1, narrow);
    EXPECT_EQ(widen(narrow[4]), 1.0f);
}

// The last convolution: columns = x W^T with a column per tap and output, then shifted and added.
TEST(Col2im, TapColumnsGiveConvolution) {
    test::Random random(2);
    for (const Size& size : kSizes)
        for (const index_t O : {1, 3})
            for (const index_t step : {1, 2, 3, 100}) {
                const index_t pixels = size.N * size.H * size.W, C = 2, target_stride = O + 1;
                const Columns layout{O, false, false, (9 * O + 7) / 8 * 8};
                const std::vector<double> x = random.integers<double>(pixels * C),
                                          w = random.integers<double>(O * 9 * C);
                const std::vector<double> y = convolve(size, C, false, O, x, C, w);

                std::vector<real> target(pixels * target_stride, real{5});
                for_each_block(size, step, [&](const ImageRows& rows) {
                    std::vector<real> columns(rows.pixels() * layout.stride,
                                              kUnwritten);  // padding is not read
                    for (index_t p = 0; p < rows.pixels(); ++p)
                        for (index_t tap = 0; tap < 9; ++tap)
                            for (index_t o = 0; o < O; ++o) {
                                double sum = 0;
                                for (index_t c = 0; c < C; ++c)
                                    sum += w[(o * 9 + tap) * C + c] * x[(rows.begin * size.W + p) * C + c];
                                columns[p * layout.stride + tap * O + o] = static_cast<real>(sum);
                            }
                    col2im(test::cpu(), rows, layout, Taps::direct, columns.data(), target.data(),
                           target_stride);
                });
                for (index_t p = 0; p < pixels; ++p) {
                    for (index_t o = 0; o < O; ++o)
                        ASSERT_EQ(target[p * target_stride + o], 5 + y[p * O + o]);
                    ASSERT_EQ(target[p * target_stride + O], 5);
                }
            }
}

// <A x, d> = <x, A^T d>, exactly, for both pairs that the backward pass uses.
TEST(Col2im, MirroredIsTransposeOfIm2col) {
    test::Random random(3);
    for (const Size& size : kSizes)
        for (const bool edge : {false, true})
            for (const index_t step : {1, 2, 100}) {
                const index_t pixels = size.N * size.H * size.W, C = 3;
                const Columns layout{C, edge, true, (9 * (C + edge) + 1 + 7) / 8 * 8};
                const std::vector<double> x = random.integers<double>(pixels * C);
                const std::vector<double> zero(x.size(), 0.0);
                std::vector<real> dx(x.size(), real{0});
                double columns_side = 0;
                for_each_block(size, step, [&](const ImageRows& rows) {
                    const index_t count = rows.pixels() * layout.stride;
                    std::vector<real> columns(count), constant(count);
                    im2col(test::cpu(), rows, layout, Taps::direct, x.data(), C, columns.data());
                    im2col(test::cpu(), rows, layout, Taps::direct, zero.data(), C,
                           constant.data());  // edge and one
                    const std::vector<real> d = random.integers<real>(count);
                    for (index_t i = 0; i < count; ++i) columns_side += (columns[i] - constant[i]) * d[i];
                    col2im(test::cpu(), rows, layout, Taps::mirrored, d.data(), dx.data(), C);
                });
                double x_side = 0;
                for (std::size_t i = 0; i < x.size(); ++i) x_side += x[i] * dx[i];
                ASSERT_EQ(columns_side, x_side);
            }
}

void expect_transposes(const Size& size, index_t O) {
    test::Random random(4);
    for (const index_t step : {1, 2, 100}) {
        const index_t pixels = size.N * size.H * size.W;
        const Columns layout{O, false, false, (9 * O + 7) / 8 * 8};
        const std::vector<real> dy = random.integers<real>(pixels * O);
        std::vector<real> y(dy.size(), real{0});
        double columns_side = 0;
        for_each_block(size, step, [&](const ImageRows& rows) {
            const std::vector<real> columns = random.integers<real>(rows.pixels() * layout.stride);
            col2im(test::cpu(), rows, layout, Taps::direct, columns.data(), y.data(), O);
            std::vector<real> dcolumns(columns.size());
            im2col(test::cpu(), rows, layout, Taps::mirrored, dy.data(), O, dcolumns.data());
            for (std::size_t i = 0; i < columns.size(); ++i) columns_side += columns[i] * dcolumns[i];
        });
        double y_side = 0;
        for (std::size_t i = 0; i < y.size(); ++i) y_side += y[i] * dy[i];
        ASSERT_EQ(columns_side, y_side);
    }
}

TEST(Im2col, MirroredIsTransposeOfCol2im) {
    for (const Size& size : kSizes) expect_transposes(size, 3);
    for (const index_t O : {6, 12, 24}) expect_transposes({2, 3, 4}, O);
    expect_transposes({1, 2, 450}, 6);  // an image row in two parts
    expect_transposes({1, 2, 3}, 456);  // taps too long for the lines
}

TEST(ZeroConvolution, AddsEdgeAndBiasThenScales) {
    test::Random random(5);
    for (const Size& size : kSizes) {
        const index_t pixels = size.N * size.H * size.W, C = 2, depth = 3;
        const std::vector<real> weight = random.integers<real>(C * 9 * depth),
                                bias = random.integers<real>(C);
        const std::vector<real> logs = random.normals<real>(C, 0.2), in = random.integers<real>(pixels * C);
        // Only the edge channel, the last one, contributes to a convolution of zeros.
        const std::vector<double> edge =
            convolve(size, depth - 1, true, C, std::vector<double>(pixels * (depth - 1), 0.0), depth - 1,
                     std::vector<double>(weight.begin(), weight.end()));
        std::vector<double> scale(C);
        exp_scale(test::cpu(), C, logs.data(), scale.data());
        for (const bool with_edge : {false, true}) {
            std::vector<real> out = in;
            zero_convolution_finish(test::cpu(), {size.H, size.W, 0, size.N * size.H}, C,
                                    with_edge ? weight.data() + depth - 1 : nullptr, depth, bias.data(),
                                    scale.data(), out.data());
            for (index_t p = 0; p < pixels; ++p)
                for (index_t c = 0; c < C; ++c) {
                    const double sum = in[p * C + c] + bias[c] + (with_edge ? edge[p * C + c] : 0.0);
                    const real expected = static_cast<real>(sum * std::exp(3.0 * logs[c]));
                    // One rounding to float of a value accurate to 1e-15.
                    ASSERT_NEAR(out[p * C + c], expected, 1e-7 * std::abs(expected));
                }
        }
    }
}

// out = (pre + bias) s, s = exp(3 logs): dpre = dout s, dbias = sum dpre, dlogs = 3 sum dout out.
TEST(ZeroConvolution, BackwardAccumulatesParameterGradients) {
    test::Random random(6);
    const index_t rows = 150, C = 5;
    const std::vector<real> logs = random.normals<real>(C, 0.2), out = random.normals<real>(rows * C),
                            dout = random.normals<real>(rows * C);
    std::vector<double> scale(C);
    exp_scale(test::cpu(), C, logs.data(), scale.data());
    for (const bool with_bias : {true, false}) {
        std::vector<real> dpre = dout, dbias(C, real{2}), dlogs(C, real{3});
        std::vector<double> partial(column_scratch(2, C));
        zero_convolution_backward(test::cpu(), rows, C, scale.data(), out.data(), dpre.data(),
                                  {with_bias ? dbias.data() : nullptr, dlogs.data()}, partial.data());
        for (index_t c = 0; c < C; ++c) {
            const double s = std::exp(3.0 * logs[c]);
            double bias_sum = 2, logs_sum = 3;
            for (index_t row = 0; row < rows; ++row) {
                const double d = dout[row * C + c];
                bias_sum += d * s;
                logs_sum += 3 * d * out[row * C + c];
                ASSERT_NEAR(dpre[row * C + c], d * s, 1e-6);
            }
            // Sums in double, rounded to float once or twice.
            EXPECT_NEAR(dbias[c], with_bias ? bias_sum : 2, 1e-6 * (1 + std::abs(bias_sum)));
            EXPECT_NEAR(dlogs[c], logs_sum, 1e-6 * (1 + std::abs(logs_sum)));
        }
    }
}

// The output is linear in the edge weights: <edge(e), d> = <e, edge_weight_backward(d)>.
TEST(ZeroConvolution, EdgeWeightBackwardIsTranspose) {
    test::Random random(7);
    for (const Size& size : kSizes) {
        const index_t pixels = size.N * size.H * size.W, C = 2, stride = 3;
        const std::vector<real> edge = random.integers<real>(C * 9 * stride), zero(C, real{0}),
                                d = random.integers<real>(pixels * C);
        const std::vector<double> one(C, 1.0);
        std::vector<real> out(pixels * C, real{0}), dedge(edge.size(), real{0});
        std::vector<double> partial(column_scratch(9, C));
        zero_convolution_finish(test::cpu(), {size.H, size.W, 0, size.N * size.H}, C, edge.data(), stride,
                                zero.data(), one.data(), out.data());
        for (int time = 0; time < 2; ++time)  // the second call accumulates
            edge_weight_backward(test::cpu(), ImageRows::of_images(size.N, size.H, size.W), C, d.data(),
                                 dedge.data(), stride, partial.data());
        double out_side = 0, edge_side = 0;
        for (std::size_t i = 0; i < out.size(); ++i) out_side += out[i] * d[i];
        for (std::size_t i = 0; i < edge.size(); ++i) {
            edge_side += edge[i] * dedge[i];
            ASSERT_TRUE(i % stride == 0 || dedge[i] == 0);
        }
        ASSERT_EQ(2 * out_side, edge_side);
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

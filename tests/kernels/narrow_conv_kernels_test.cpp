// The source of the kernels of bf16 products, run on the CPU with emulated warps, against plain loops that
// add in the same order: bit for bit, except for the sums of dhidden.
#define GLOW_HOST_ONLY  // these kernels run on host memory in a CUDA build too
#include "kernels/narrow_conv_kernels.cuh"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/math.h"
#include "tests/kernels/warp_emulator.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::Random;
using test::WarpEmulator;

constexpr float kUnset = std::numeric_limits<float>::quiet_NaN();
constexpr bfloat16 kUnsetHalf{0x7fc1};  // NaN
constexpr float kBefore = 3;            // what gradients are added to

std::vector<bfloat16> normal_halves(Random& random, index_t count) {
    std::vector<bfloat16> all;
    for (const double value : random.normals(count)) all.push_back(round_to<bfloat16>(value));
    return all;
}
// Results of a ReLU: half of them are 0, some -0.
std::vector<bfloat16> relu_halves(Random& random, index_t count) {
    std::vector<bfloat16> all = normal_halves(random, count);
    for (bfloat16& value : all)
        if (!(widen(value) > 0)) value = {static_cast<std::uint16_t>(value.bits & 1u ? 0x8000u : 0u)};
    return all;
}
bool same_bits(float a, float b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
}
// First row of a part.
index_t part_begin(index_t rows, int part, int parts) {
    const index_t tiles = (rows + narrow_conv::kRows - 1) / narrow_conv::kRows;
    return std::min(rows, tiles * part / parts * narrow_conv::kRows);
}
// left^T right [left columns, right columns]: sums over the rows of each part, then over the parts.
std::vector<float> ordered_transposed_product(index_t rows, int parts, index_t left_columns,
                                              index_t right_columns, const std::vector<bfloat16>& left,
                                              const std::vector<bfloat16>& right) {
    std::vector<float> total(left_columns * right_columns);
    for (int part = 0; part < parts; ++part) {
        std::vector<float> sums(left_columns * right_columns);
        for (index_t r = part_begin(rows, part, parts); r < part_begin(rows, part + 1, parts); ++r)
            for (index_t i = 0; i < left_columns; ++i)
                for (index_t j = 0; j < right_columns; ++j)
                    sums[i * right_columns + j] +=
                        widen(left[r * left_columns + i]) * widen(right[r * right_columns + j]);
        for (std::size_t i = 0; i < sums.size(); ++i) total[i] += sums[i];
    }
    return total;
}
// left [rows, inner] right [inner, columns]
std::vector<float> ordered_product(index_t rows, index_t inner, index_t columns,
                                   const std::vector<bfloat16>& left, const std::vector<bfloat16>& right) {
    std::vector<float> sums(rows * columns);
    for (index_t r = 0; r < rows; ++r)
        for (index_t k = 0; k < inner; ++k)
            for (index_t j = 0; j < columns; ++j)
                sums[r * columns + j] += widen(left[r * inner + k]) * widen(right[k * columns + j]);
    return sums;
}

struct OutputCase {
    index_t rows, taps, width;
    int parts;
    bool in_place;
};

// As output_conv_backward() does it on a GPU.
void run_output(const OutputConvBackward& p, int parts) {
    using B = narrow_conv::OutputBlocking;
    const index_t weights = p.taps * p.width, size = weights + p.width;
    std::vector<float> partial(parts * size, kUnset);
    WarpEmulator block(B::kThreads, B::kSharedBytes);
    for (int part = 0; part < parts; ++part)
        for (int slice = 0; slice < p.width / narrow_conv::kSlice; ++slice)
            block.run(slice, part, [&](const BlockThread& at) {
                narrow_conv::output_conv_backward(p, at, parts, partial.data());
            });
    const narrow_conv::SumPartials sums{size,         weights,   parts,  partial.data(),
                                        p.accumulate, p.dweight, p.dbias};
    for (index_t i = 0; i < size; ++i) sums(i);
}

// Whole rounds of loads, a rest behind them, and nothing read beyond the last part.
TEST(NarrowConvKernels, SumsAnyNumberOfParts) {
    constexpr index_t kSize = 5, kWeights = 3;
    for (const int parts : {1, 21, 22, 23, 33, 44, 256})
        for (const bool accumulate : {false, true}) {
            std::vector<float> partial(parts * kSize), dweight(kWeights, 2), dbias(kSize - kWeights, 2);
            for (std::size_t i = 0; i < partial.size(); ++i) partial[i] = static_cast<float>(i % 7);
            partial.resize(partial.size() + 100 * kSize, std::numeric_limits<float>::quiet_NaN());
            const narrow_conv::SumPartials sums{kSize,      kWeights,       parts,       partial.data(),
                                                accumulate, dweight.data(), dbias.data()};
            for (index_t i = 0; i < kSize; ++i) {
                sums(i);
                float expected = accumulate ? 2 : 0;
                for (int part = 0; part < parts; ++part) expected += partial[part * kSize + i];
                EXPECT_EQ(i < kWeights ? dweight[i] : dbias[i - kWeights], expected) << parts << " " << i;
            }
        }
}

void check_output(const OutputCase& c) {
    SCOPED_TRACE(testing::Message() << c.rows << " " << c.taps << " " << c.width << " in " << c.parts);
    Random random(c.rows);
    const auto dtaps = normal_halves(random, c.rows * c.taps),
               weight = normal_halves(random, c.taps * c.width),
               hidden = relu_halves(random, c.rows * c.width);
    const std::size_t values = hidden.size();
    std::vector<bfloat16> map = hidden, separate(values, kUnsetHalf);
    std::vector<bfloat16>& dhidden = c.in_place ? map : separate;
    dhidden.resize(values + 64 * c.width, kUnsetHalf);  // must stay
    std::vector<float> dweight(c.taps * c.width, kBefore), dbias(c.width, kBefore);
    run_output({c.rows, c.taps, c.width, dtaps.data(), weight.data(), map.data(), dhidden.data(), true,
                dweight.data(), dbias.data()},
               c.parts);

    const std::vector<float> out = ordered_product(c.rows, c.taps, c.width, dtaps, weight);
    std::vector<double> bias(c.width), size(c.width);
    for (std::size_t i = 0; i < values; ++i) {
        ASSERT_EQ(dhidden[i].bits, relu_gradient(hidden[i], round_to<bfloat16>(out[i])).bits) << i;
        bias[i % c.width] += widen(dhidden[i]), size[i % c.width] += std::abs(widen(dhidden[i]));
    }
    for (std::size_t i = values; i < dhidden.size(); ++i) ASSERT_EQ(dhidden[i].bits, kUnsetHalf.bits) << i;
    const auto dW = ordered_transposed_product(c.rows, c.parts, c.taps, c.width, dtaps, hidden);
    for (std::size_t i = 0; i < dW.size(); ++i) ASSERT_TRUE(same_bits(dweight[i], kBefore + dW[i])) << i;
    for (index_t i = 0; i < c.width; ++i)  // in another order
        ASSERT_NEAR(dbias[i], kBefore + bias[i], 1e-5 * (size[i] + kBefore)) << i;
}

TEST(NarrowConvKernels, LastConvolutionMatchesPlainLoops) {
    for (const OutputCase& c : {OutputCase{64, 112, 128, 1, true}, OutputCase{1, 112, 128, 1, true},
                                OutputCase{389, 40, 128, 2, true}, OutputCase{200, 112, 512, 1, true},
                                OutputCase{130, 72, 128, 1, false}})
        check_output(c);
}

struct InputCase {
    index_t rows, columns;
    int parts;
};

template <int kSteps, int kThreads>
void check_input(const InputCase& c) {
    using B = narrow_conv::InputBlocking<kSteps, kThreads>;
    const index_t width = kSteps * B::kChannels, size = width * c.columns;
    SCOPED_TRACE(testing::Message() << c.rows << " " << c.columns << " " << width << " in " << c.parts << ", "
                                    << kThreads << " threads");
    Random random(c.rows);
    const auto expanded = normal_halves(random, c.rows * c.columns),
               weight = normal_halves(random, width * c.columns),
               dhidden = normal_halves(random, c.rows * width);
    auto hidden = relu_halves(random, c.rows * width);
    for (std::size_t i = 0; i < hidden.size(); i += 7)  // NaN, infinity, denormal numbers
        hidden[i] = {std::vector<std::uint16_t>{0x7fc0, 0xffff, 0x7f80, 0x0001, 0x8001}[i % 5]};
    std::vector<float> dexpanded((c.rows + 64) * c.columns, kUnset), dweight(size, kBefore),
        partial(c.parts * size, kUnset);
    const InputConvBackward p{c.rows,         c.columns,       width,         hidden.data(),
                              dhidden.data(), expanded.data(), weight.data(), dexpanded.data(),
                              true,           dweight.data()};
    WarpEmulator block(B::kThreads, B::kSharedBytes);
    for (int part = 0; part < c.parts; ++part)
        block.run(part, 0, [&](const BlockThread& at) {
            narrow_conv::input_conv_backward<B>(p, at, c.parts, partial.data());
        });
    const narrow_conv::SumPartials sums{size, size, c.parts, partial.data(), true, dweight.data(), nullptr};
    for (index_t i = 0; i < size; ++i) sums(i);

    std::vector<bfloat16> G = dhidden;
    for (std::size_t i = 0; i < G.size(); ++i) G[i] = relu_gradient(hidden[i], dhidden[i]);
    const auto dx = ordered_product(c.rows, width, c.columns, G, weight);
    for (std::size_t i = 0; i < dx.size(); ++i) ASSERT_TRUE(same_bits(dexpanded[i], dx[i])) << i;
    for (std::size_t i = dx.size(); i < dexpanded.size(); ++i) ASSERT_TRUE(std::isnan(dexpanded[i])) << i;
    const auto dW = ordered_transposed_product(c.rows, c.parts, width, c.columns, G, expanded);
    for (std::size_t i = 0; i < dW.size(); ++i) ASSERT_TRUE(same_bits(dweight[i], kBefore + dW[i])) << i;
}
template <int kThreads>
void check_inputs() {
    check_input<8, kThreads>({64, 64, 1});
    check_input<8, kThreads>({300, 64, 2});
    check_input<2, kThreads>({389, 40, 1});
    check_input<4, kThreads>({130, 32, 1});
}

TEST(NarrowConvKernels, FirstConvolutionMatchesPlainLoops) {
    check_inputs<256>();
}

// The other possible number of threads.
TEST(NarrowConvKernels, FirstConvolutionMatchesWith512Threads) {
    check_inputs<512>();
}

TEST(NarrowConvKernels, MasksTwoValuesAtOnce) {
    for (unsigned y = 0; y < 0x10000u; ++y) {
        const bfloat16 half{static_cast<std::uint16_t>(y)}, dy{0x1234};
        const unsigned expected = relu_gradient(half, dy).bits;
        ASSERT_EQ(narrow_conv::relu_gradients(y, 0x56781234u), expected) << y;
        ASSERT_EQ(narrow_conv::relu_gradients(y << 16 | 0x3f80u, 0x12345678u), expected << 16 | 0x5678u) << y;
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

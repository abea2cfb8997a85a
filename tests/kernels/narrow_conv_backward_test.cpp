// The kernels of bf16 products against the same sums in double. They run on a GPU only.
#include "kernels/narrow_conv_backward.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/math.h"
#include "runtime/context.h"
#include "runtime/cuda.h"
#include "tests/device_parity.h"

namespace glow {
namespace {

using test::DeviceUnderTest;
using test::Random;

// Sizes of one problem; narrow: taps or columns.
struct Sizes {
    index_t rows, narrow, width;
};

std::vector<bfloat16> rounded(const std::vector<double>& values) {
    std::vector<bfloat16> all;
    for (const double value : values) all.push_back(round_to<bfloat16>(value));
    return all;
}
// Results of a ReLU, about half of them 0.
std::vector<bfloat16> relu(std::vector<double> values) {
    for (double& value : values) value = std::max(value, 0.0);
    return rounded(values);
}

// Gives some values bits that only a mask reads: NaN, -0, denormal and negative numbers.
std::vector<bfloat16> with_unusual_bits(std::vector<bfloat16> values) {
    constexpr std::uint16_t kBits[] = {0x7fc0, 0xffff, 0x8000, 0x8001, 0x0001, 0xbf80};
    for (std::size_t i = 0; i < values.size(); i += 97) values[i].bits = kBits[i % std::size(kBits)];
    return values;
}

struct Sum {
    double value = 0, size = 0;
    void add(double x) { value += x, size += std::abs(x); }
};
// Float sums in any order, of products of bf16 numbers, which are exact.
void expect_sum(double found, const Sum& sum, double before = 0) {
    ASSERT_NEAR(found, before + sum.value, 1e-5 * (sum.size + std::abs(before)) + 1e-30);
}

class NarrowConvBackward : public testing::Test {
  protected:
    void SetUp() override {
        if (const std::string problem = cuda::problem(); !problem.empty()) GTEST_SKIP() << problem;
        backend_ = std::make_unique<Backend>(Device::cuda, 1);
        if (!backend_->exec().tensor_cores) GTEST_SKIP() << "this GPU's shared memory is too small";
    }
    const Exec& exec() const { return backend_->exec(); }
    template <class T>
    std::vector<T> download(index_t count, const T* values) const {
        return downloaded(exec(), count, values);
    }
    static constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

  private:
    std::unique_ptr<Backend> backend_;
};

TEST_F(NarrowConvBackward, LastConvolutionMatchesFormula) {
    for (const auto& [rows, taps, width] :
         {Sizes{64, 112, 512}, Sizes{1, 112, 128}, Sizes{5000, 112, 512}, Sizes{20000, 112, 128},
          Sizes{130, 72, 256}, Sizes{389, 40, 128}, Sizes{8192, 16, 1024}, Sizes{17000, 40, 512}})
        for (const bool accumulate : {false, true}) {
            SCOPED_TRACE(testing::Message() << rows << " " << taps << " " << width);
            ASSERT_TRUE(output_conv_backward_fits(exec(), taps, width));
            Random random(rows);
            const auto dtaps = rounded(random.normals(rows * taps)),
                       weight = rounded(random.normals(taps * width)),
                       hidden = relu(random.normals(rows * width));
            const auto run = [&](bool in_place) {
                DeviceUnderTest device(exec());
                const float start = accumulate ? 3.0f : kPoison;
                float* const dweight = device.out(std::vector<float>(taps * width, start));
                float* const dbias = device.out(std::vector<float>(width, start));
                bfloat16* const h = device.in(hidden);
                bfloat16* const dhidden =
                    in_place ? h : device.out(std::vector<bfloat16>(rows * width, bfloat16{0x7fc0}));
                output_conv_backward(exec(),
                                     {rows, taps, width, device.in(dtaps), device.in(weight), h, dhidden,
                                      accumulate, dweight, dbias},
                                     device.scratch<float>(output_conv_backward_scratch(rows, taps, width)));
                device.results();  // checks the guards
                std::vector<float> all = download(taps * width, dweight);
                for (const float value : download(width, dbias)) all.push_back(value);
                for (const bfloat16 value : download(rows * width, dhidden)) all.push_back(widen(value));
                return all;
            };
            const std::vector<float> found = run(false);
            const double before = accumulate ? 3 : 0;
            const float* const dweight = found.data();
            const float* const dbias = dweight + taps * width;
            const float* const dhidden = dbias + width;
            for (index_t c = 0; c < width; ++c) {
                Sum bias;
                std::vector<Sum> dW(taps);
                for (index_t row = 0; row < rows; ++row) {
                    const double h = widen(hidden[row * width + c]);
                    Sum dh;
                    for (index_t tap = 0; tap < taps; ++tap) {
                        const double d = widen(dtaps[row * taps + tap]);
                        dh.add(d * widen(weight[tap * width + c]));
                        dW[tap].add(d * h);
                    }
                    const double got = dhidden[row * width + c];
                    if (h > 0)
                        ASSERT_NEAR(got, dh.value, std::abs(dh.value) / 256 + 1e-5 * dh.size)
                            << row << " " << c;
                    else
                        ASSERT_EQ(got, 0) << row << " " << c;
                    bias.add(got);
                }
                expect_sum(dbias[c], bias, before);
                for (index_t tap = 0; tap < taps; ++tap)
                    expect_sum(dweight[tap * width + c], dW[tap], before);
            }
            EXPECT_EQ(run(false), found) << "not repeatable";
            EXPECT_EQ(run(true), found) << "in place";
        }
}

TEST_F(NarrowConvBackward, FirstConvolutionMatchesFormula) {
    for (const auto& [rows, columns, width] :
         {Sizes{64, 64, 512}, Sizes{1, 64, 128}, Sizes{9000, 64, 512}, Sizes{777, 64, 256},
          Sizes{300, 32, 512}, Sizes{20000, 40, 128}, Sizes{34000, 8, 512}, Sizes{34000, 8, 256},
          Sizes{34000, 16, 128}})
        for (const bool accumulate : {false, true}) {
            SCOPED_TRACE(testing::Message() << rows << " " << columns << " " << width);
            ASSERT_TRUE(input_conv_backward_fits(exec(), columns, width));
            Random random(rows);
            const auto expanded = rounded(random.normals(rows * columns)),
                       weight = rounded(random.normals(width * columns)),
                       hidden = with_unusual_bits(relu(random.normals(rows * width))),
                       dhidden = rounded(random.normals(rows * width));
            const auto run = [&] {
                DeviceUnderTest device(exec());
                float* const dweight =
                    device.out(std::vector<float>(columns * width, accumulate ? 3.0f : kPoison));
                float* const dexpanded = device.out(std::vector<float>(rows * columns, kPoison));
                input_conv_backward(exec(),
                                    {rows, columns, width, device.in(hidden), device.in(dhidden),
                                     device.in(expanded), device.in(weight), dexpanded, accumulate, dweight},
                                    device.scratch<float>(input_conv_backward_scratch(rows, columns, width)));
                device.results();
                std::vector<float> all = download(columns * width, dweight);
                for (const float value : download(rows * columns, dexpanded)) all.push_back(value);
                return all;
            };
            const std::vector<float> found = run();
            const float* const dexpanded = found.data() + columns * width;
            std::vector<Sum> dW(columns * width);
            for (index_t row = 0; row < rows; ++row) {
                std::vector<Sum> dx(columns);
                for (index_t c = 0; c < width; ++c) {
                    if (!(widen(hidden[row * width + c]) > 0)) continue;
                    const double G = widen(dhidden[row * width + c]);
                    for (index_t j = 0; j < columns; ++j) {
                        dx[j].add(G * widen(weight[c * columns + j]));
                        dW[c * columns + j].add(G * widen(expanded[row * columns + j]));
                    }
                }
                for (index_t j = 0; j < columns; ++j) expect_sum(dexpanded[row * columns + j], dx[j]);
            }
            for (index_t i = 0; i < columns * width; ++i) expect_sum(found[i], dW[i], accumulate ? 3 : 0);
            EXPECT_EQ(run(), found) << "not repeatable";
        }
}

TEST(NarrowConvBackwardSizes, RejectsUnsupported) {
    const Exec cpu{};
    EXPECT_FALSE(output_conv_backward_fits(cpu, 112, 512));
    EXPECT_FALSE(input_conv_backward_fits(cpu, 64, 512));
    Exec gpu{};
    gpu.device = Device::count_only;
    gpu.tensor_cores = true;
    for (const auto& [rows, taps, width] : {Sizes{1, 120, 512}, Sizes{1, 111, 512}, Sizes{1, 112, 64}}) {
        EXPECT_FALSE(output_conv_backward_fits(gpu, taps, width));
        OutputConvBackward problem{};
        problem.rows = rows, problem.taps = taps, problem.width = width;
        EXPECT_THROW(output_conv_backward(gpu, problem, nullptr), Error);
    }
    for (const auto& [rows, columns, width] : {Sizes{1, 72, 512}, Sizes{1, 63, 512}, Sizes{1, 64, 384}}) {
        EXPECT_FALSE(input_conv_backward_fits(gpu, columns, width));
        InputConvBackward problem{};
        problem.rows = rows, problem.columns = columns, problem.width = width;
        EXPECT_THROW(input_conv_backward(gpu, problem, nullptr), Error);
    }
}

}  // namespace
}  // namespace glow

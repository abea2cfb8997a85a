#include "runtime/blas.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/math.h"
#include "runtime/context.h"
#include "runtime/cuda.h"
#include "runtime/device.h"

namespace glow {
namespace {

struct Case {
    const char* name;
    Scalar in, out;
    Device device = Device::cpu;
    bool fused = true;  // on CUDA: epilogues in the product or as separate kernels
};
void PrintTo(const Case& c, std::ostream* out) {
    *out << c.name;
}

// A product of random matrices inside larger ones, with a reference in double, element by element.
template <class In, class Out>
class Problem {
  public:
    Problem(Gemm gemm, std::uint64_t seed) : gemm_(gemm), engine_(seed) {
        const index_t a_rows = gemm.transpose_a ? gemm.k : gemm.m,
                      b_rows = gemm.transpose_b ? gemm.n : gemm.k;
        // Surroundings of a matrix are NaN: they must not be read, and around C not written.
        a_ = matrix<In>(a_rows, gemm.transpose_a ? gemm.m : gemm.k, gemm.lda);
        b_ = matrix<In>(b_rows, gemm.transpose_b ? gemm.k : gemm.n, gemm.ldb);
        c_ = matrix<Out>(gemm.m, gemm.n, gemm.ldc);
        bias_ = matrix<Bias>(1, gemm.n, gemm.n);
    }

    std::vector<Out> run(Blas& blas, const Exec& exec) const {
        const std::size_t scratch_bytes = blas.scratch_bytes(gemm_);
        const auto bytes = [](const auto& v) { return v.size() * sizeof v[0] + kAlignment; };
        Arena arena(exec.device, Category::workspace,
                    bytes(a_) + bytes(b_) + bytes(c_) + bytes(bias_) + scratch_bytes + kAlignment);
        const auto to_device = [&](const auto& values) {
            auto* const copy =
                arena.take<std::decay_t<decltype(values[0])>>(static_cast<index_t>(values.size()));
            upload(exec, static_cast<index_t>(values.size()), values.data(), copy);
            return copy;
        };
        const In *const a = to_device(a_), *const b = to_device(b_);
        Out* const c = to_device(c_);
        blas.run(gemm_, a, b, c, {.bias = gemm_.epilogue == Epilogue::bias_relu ? to_device(bias_) : nullptr},
                 arena.take_bytes(scratch_bytes));
        return downloaded(exec, static_cast<index_t>(c_.size()), c);
    }

    // unit: rounding of the accumulator and the products; out_unit: of the result's type. With a bias, the
    // product, the bias and their sum are each rounded to that type: by a fused epilogue all three.
    void expect_right(const std::vector<Out>& c, double unit, double out_unit) const {
        const Gemm& g = gemm_;
        for (index_t i = 0; i < g.m; ++i)
            for (index_t j = 0; j < g.ldc; ++j) {
                const std::size_t at = i * g.ldc + j;
                if (j >= g.n) {
                    ASSERT_EQ(std::memcmp(&c[at], &c_[at], sizeof(Out)), 0) << "written outside C";
                    continue;
                }
                double exact = g.accumulate ? widen(c_[at]) : 0.0, size = std::abs(exact), first = 0;
                for (index_t k = 0; k < g.k; ++k) {
                    const double x = widen(a_[g.transpose_a ? k * g.lda + i : i * g.lda + k]);
                    const double y = widen(b_[g.transpose_b ? j * g.ldb + k : k * g.ldb + j]);
                    exact += x * y;
                    size += std::abs(x * y);
                }
                if (g.epilogue == Epilogue::bias_relu) {
                    const double bias = bias_[j];
                    first = std::abs(bias) + std::abs(exact);
                    exact += bias;
                    size += std::abs(bias);
                }
                if (g.epilogue != Epilogue::none) exact = std::max(exact, 0.0);
                // Rounding of a sum of k terms with absolute sum `size`: sqrt(k) units, with a margin.
                const double tolerance = 4 * std::sqrt(static_cast<double>(g.k) + 1) * unit * size +
                                         out_unit * (std::abs(exact) + (1 + out_unit) * first);
                ASSERT_NEAR(widen(c[at]), exact, tolerance) << i << " " << j;
            }
    }

  private:
    using Bias = std::conditional_t<std::is_same_v<In, double>, double, float>;

    template <class T>
    std::vector<T> matrix(index_t rows, index_t columns, index_t stride) {
        std::vector<T> values(rows * stride, round_to<T>(std::numeric_limits<double>::quiet_NaN()));
        for (index_t row = 0; row < rows; ++row)
            for (index_t column = 0; column < columns; ++column)
                values[row * stride + column] = round_to<T>(normal_(engine_));
        return values;
    }

    Gemm gemm_;
    std::mt19937_64 engine_;
    std::normal_distribution<double> normal_;
    std::vector<In> a_, b_;
    std::vector<Out> c_;
    std::vector<Bias> bias_;
};

class BlasTest : public testing::TestWithParam<Case> {
  protected:
    void SetUp() override {
        if (GetParam().device == Device::cuda && !cuda_problem().empty()) GTEST_SKIP() << cuda_problem();
        backend_ = std::make_unique<Backend>(GetParam().device, 2);
        blas_ = make();
        if (GetParam().in == Scalar::bf16 && !blas_->has_bf16())
            GTEST_SKIP() << "no bf16 products on this machine or in this build";
    }
    const Exec& exec() const { return backend_->exec(); }
    std::unique_ptr<Blas> make() const {
        return GetParam().device == Device::cuda ? cuda::make_blas(exec(), GetParam().fused)
                                                 : make_cpu_blas(2);
    }

    // Calls f(problem, unit, out_unit) for the types of the parameter.
    template <class F>
    void with_problem(Gemm gemm, F f) {
        gemm.in = GetParam().in;
        gemm.out = GetParam().out;
        if (gemm.in == Scalar::f64)
            f(Problem<double, double>(gemm, 1), 0x1p-53, 0x1p-53);
        else if (gemm.in == Scalar::f32)
            f(Problem<float, float>(gemm, 1), 0x1p-24, 0x1p-24);
        else if (gemm.in == Scalar::tf32)
            f(Problem<float, float>(gemm, 1), 0x1p-11, 0x1p-24);
        else if (gemm.out == Scalar::f32)
            f(Problem<bfloat16, float>(gemm, 1), 0x1p-24, 0x1p-24);
        else
            f(Problem<bfloat16, bfloat16>(gemm, 1), 0x1p-24, 0x1p-8);
    }
    void expect_right(const Gemm& gemm) {
        with_problem(gemm, [&](const auto& problem, double unit, double out_unit) {
            problem.expect_right(problem.run(*blas_, exec()), unit, out_unit);
        });
    }

    std::unique_ptr<Backend> backend_;
    std::unique_ptr<Blas> blas_;
};

INSTANTIATE_TEST_SUITE_P(
    Types, BlasTest,
    testing::Values(Case{"f64", Scalar::f64, Scalar::f64}, Case{"f32", Scalar::f32, Scalar::f32},
                    Case{"bf16_f32", Scalar::bf16, Scalar::f32}, Case{"bf16", Scalar::bf16, Scalar::bf16},
                    Case{"cuda_f64", Scalar::f64, Scalar::f64, Device::cuda},
                    Case{"cuda_f32", Scalar::f32, Scalar::f32, Device::cuda},
                    Case{"cuda_tf32", Scalar::tf32, Scalar::f32, Device::cuda},
                    Case{"cuda_bf16_f32", Scalar::bf16, Scalar::f32, Device::cuda},
                    Case{"cuda_bf16", Scalar::bf16, Scalar::bf16, Device::cuda},
                    Case{"cuda_f32_apart", Scalar::f32, Scalar::f32, Device::cuda, false},
                    Case{"cuda_bf16_apart", Scalar::bf16, Scalar::bf16, Device::cuda, false}),
    [](const auto& info) { return std::string(info.param.name); });

// Sizes of the networks, and odd ones.
const index_t kSizes[][3] = {{1, 1, 1},    {2, 3, 5},     {7, 1, 64},    {1, 17, 9},    {33, 31, 29},
                             {64, 64, 64}, {12, 13, 500}, {200, 72, 56}, {512, 64, 64}, {130, 512, 8}};

TEST_P(BlasTest, MatchesNaiveProductForAllLayouts) {
    for (const auto& [m, n, k] : kSizes)
        for (const bool ta : {false, true})
            for (const bool tb : {false, true})
                for (const index_t extra : {0, 3}) {
                    SCOPED_TRACE(testing::Message() << m << " " << n << " " << k << " " << ta << tb << extra);
                    expect_right({.m = m,
                                  .n = n,
                                  .k = k,
                                  .transpose_a = ta,
                                  .transpose_b = tb,
                                  .lda = (ta ? m : k) + extra,
                                  .ldb = (tb ? k : n) + extra,
                                  .ldc = n + extra});
                }
}

TEST_P(BlasTest, Accumulates) {
    if (GetParam().out == Scalar::bf16) GTEST_SKIP() << "gradients accumulate in float";
    for (const auto& [m, n, k] : kSizes)
        for (const bool ta : {false, true}) {
            SCOPED_TRACE(testing::Message() << m << " " << n << " " << k << " " << ta);
            expect_right({.m = m,
                          .n = n,
                          .k = k,
                          .transpose_a = ta,
                          .lda = ta ? m : k,
                          .ldb = n,
                          .ldc = n + 2,
                          .accumulate = true});
        }
}

TEST_P(BlasTest, AppliesEpilogues) {
    for (const auto& [m, n, k] : kSizes)
        for (const Epilogue epilogue : {Epilogue::relu, Epilogue::bias_relu}) {
            SCOPED_TRACE(testing::Message()
                         << m << " " << n << " " << k << " " << static_cast<int>(epilogue));
            expect_right({.m = m,
                          .n = n,
                          .k = k,
                          .transpose_b = true,
                          .lda = k,
                          .ldb = k + 1,
                          .ldc = n,
                          .epilogue = epilogue});
        }
}

TEST(CpuBlas, HasNoTf32) {
    EXPECT_FALSE(make_cpu_blas(1)->has_tf32());
}

TEST_P(BlasTest, IsDeterministic) {
    for (const auto& [m, n, k] : {std::array<index_t, 3>{300, 64, 56}, std::array<index_t, 3>{64, 64, 3000}})
        for (const bool ta : {false, true})
            with_problem(
                {.m = m, .n = n, .k = k, .transpose_a = ta, .lda = ta ? m : k, .ldb = n, .ldc = n},
                [&](const auto& problem, double, double) {
                    const auto first = problem.run(*blas_, exec());
                    const std::unique_ptr<Blas> other = make();
                    for (int time = 0; time < 3; ++time)
                        for (Blas* const blas : {blas_.get(), other.get()}) {
                            const auto again = problem.run(*blas, exec());
                            ASSERT_EQ(std::memcmp(again.data(), first.data(), first.size() * sizeof first[0]),
                                      0);
                        }
                });
}

}  // namespace
}  // namespace glow

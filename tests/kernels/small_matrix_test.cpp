#include "kernels/small_matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/activation.h"
#include "kernels/math.h"
#include "kernels/reduce.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {
namespace {

TEST(BiasRelu, TouchesOnlyTheMatrix) {
    const index_t m = 5, n = 7, stride = 9;
    const std::vector<float> C = test::Random(1).normals<float>(m * stride),
                             bias = test::Random(2).normals<float>(n);
    for (const bool with_bias : {false, true}) {
        std::vector<float> result = C;
        bias_relu(test::cpu(), m, n, stride, with_bias ? bias.data() : nullptr, result.data());
        for (index_t row = 0; row < m; ++row)
            for (index_t c = 0; c < stride; ++c) {
                const index_t i = row * stride + c;
                const double sum = static_cast<double>(C[i]) + (with_bias && c < n ? bias[c] : 0.0f);
                EXPECT_EQ(result[i], c < n ? static_cast<float>(std::max(sum, 0.0)) : C[i]);
            }
    }
}

TEST(BiasRelu, RoundsBf16ResultOnce) {
    std::vector<bfloat16> C = {round_to<bfloat16>(1.0), round_to<bfloat16>(-2.0)};
    const std::vector<float> bias = {0x1p-7f, 1};
    bias_relu(test::cpu(), 1, 2, 2, bias.data(), C.data());
    EXPECT_EQ(widen(C[0]), 1.0078125f);
    EXPECT_EQ(widen(C[1]), 0.0f);
}

TEST(ConditionNumbers, MatchNormsAndReportInvalid) {
    const double nan = std::numeric_limits<double>::quiet_NaN(), inf = HUGE_VAL;
    // diag(1, 2); failure of either factorization; a non-finite entry; a condition of 1e15.
    const std::vector<double> W = {1, 0, 0, 2, 1, 0, 0, 2, 1, 0, 0, 2, 1, nan, 0, 2, 1e8, 0, 0, 1},
                              inverse = {1, -3, 0, .5, 1, 0, 0, .5, 1, 0, 0, .5, 1, 0, 0, .5, 1, 0, 0, 1e7};
    const std::vector<int> lu_failed = {0, 1, 0, 0, 0}, inverse_failed = {0, 0, 2, 0, 0};
    std::vector<double> condition(5), partial(group_scratch(5));
    condition_numbers(test::cpu(), 5, 2, {W.data(), inverse.data(), lu_failed.data(), inverse_failed.data()},
                      condition.data(), partial.data());
    // Columns of the inverse: |1|, |-3| + |0.5|.
    EXPECT_EQ(condition, (std::vector<double>{2 * 3.5, inf, inf, inf, inf}));
}

TEST(LogAbsDiagonal, SumsLogarithms) {
    const std::vector<double> lu = {2, 9, 9, -3, 0.5, 9, 9, 1};
    std::vector<double> result(2);
    log_abs_diagonal(test::cpu(), 2, 2, lu.data(), result.data());
    EXPECT_NEAR(result[0], std::log(6.0), 1e-15);
    EXPECT_NEAR(result[1], std::log(0.5), 1e-15);
}

TEST(RowPointers, PointAtEveryMatrix) {
    double memory[12];
    double* pointers[3];
    row_pointers(test::cpu(), 3, 4, memory, pointers);
    for (int k = 0; k < 3; ++k) EXPECT_EQ(pointers[k], memory + 4 * k);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

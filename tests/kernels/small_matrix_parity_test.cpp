// Small matrices and biases, on a GPU against the CPU.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "kernels/activation.h"
#include "kernels/elementwise.h"
#include "kernels/reduce.h"
#include "kernels/small_matrix.h"
#include "tests/kernels/kernel_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceSide;
using test::kDouble;
using test::KernelParity;
using test::kFloat;
using test::kNarrow;
using test::nans;
using test::Random;
using test::rounded;

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

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

using test::DeviceUnderTest;
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
        expect_parity(kFloat, [&](DeviceUnderTest& device) {
            bias_relu(device.exec, m, n, stride, with_bias ? device.in(bias) : nullptr, device.out(C));
        });
        expect_parity(kNarrow, [&](DeviceUnderTest& device) {
            bias_relu(device.exec, m, n, stride, with_bias ? device.in(bias) : nullptr, device.out(narrow));
        });
    }
    expect_parity(0, [&](DeviceUnderTest& device) {
        cast(device.exec, m, device.in(C), device.out(nans<bfloat16>(m)));
    });
    expect_parity(
        0, [&](DeviceUnderTest& device) { identity(device.exec, n, device.out(nans<double>(n * n))); });
    // Addresses differ between devices, contents must not.
    const std::vector<double> matrices = random.normals(count * n);
    for (const Exec& exec : {test::cpu(), target()}) {
        DeviceUnderTest device(exec);
        double* const first = device.in(matrices);
        auto** const pointers = reinterpret_cast<double**>(device.in(std::vector<std::uint64_t>(count)));
        row_pointers(exec, count, n, first, pointers);
        const std::vector<double*> found = downloaded(exec, count, pointers);
        for (index_t k = 0; k < count; ++k) EXPECT_EQ(found[k], first + k * n);
    }
    auto W = random.normals(count * n * n), inverse = random.normals(count * n * n);
    W[n * n + 5] = std::numeric_limits<double>::infinity();
    inverse[2 * n * n + 7] = std::numeric_limits<double>::quiet_NaN();
    const std::vector<int> failed = {0, 0, 0};
    expect_parity(kDouble, [&](DeviceUnderTest& device) {
        log_abs_diagonal(device.exec, count, n, device.in(inverse), device.out(nans<double>(count)));
        condition_numbers(device.exec, count, n,
                          {device.in(W), device.in(inverse), device.in(failed), device.in(failed)},
                          device.out(nans<double>(count)), device.scratch<double>(group_scratch(count)));
    });
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

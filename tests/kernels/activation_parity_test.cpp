// ReLU and the moments that initialize actnorms, on a GPU against the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "kernels/activation.h"
#include "kernels/actnorm_init.h"
#include "kernels/elementwise.h"
#include "kernels/reduce.h"
#include "tests/kernels/kernel_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceUnderTest;
using test::kDouble;
using test::KernelParity;
using test::kFloat;
using test::kRounding;
using test::nans;
using test::Random;
using test::rounded;

template <class Map>
void expect_relu(KernelParity& parity, index_t rows, index_t C) {
    SCOPED_TRACE(testing::Message() << rows << " " << C);
    Random random(3);
    auto values = random.normals(rows * C);
    for (double& value : values) value = std::max(value, 0.0);
    values[0] = std::numeric_limits<double>::quiet_NaN();
    const auto map = rounded<Map>(values), d = rounded<Map>(random.normals(rows * C));
    const auto run = [&](const std::vector<Map>& d, bool summed, double tolerance,
                         const std::vector<double>& errors) {
        parity.expect_parity(tolerance, [&](DeviceUnderTest& device) {
            Map* const dmap = device.out(d);
            if (!summed) return relu_backward<Map>(device.exec, rows, C, device.in(map), dmap);
            double* const partial = device.scratch<double>(column_scratch(1, C));
            for (const bool accumulate : {false, true})
                relu_backward_sums<Map>(device.exec, rows, C, device.in(map), dmap, accumulate,
                                        device.out(std::vector<real>(C, real{1}), errors), partial);
        });
    };
    run(d, false, 0, {0});
    run(d, true, kRounding<real>, test::column_sum_errors<real>(rows, C, C, d));
    // Sums of small integers are exact in any order: no row is lost or counted twice.
    run(rounded<Map>(random.integers<double>(rows * C)), true, 0, {0});
}

TEST_P(KernelParity, Relu) {
    for (const index_t rows : {1, 65, 1000})
        for (const index_t C : {1, 8, 33, 64, 512}) {
            if (rows == 1000 && C == 512) continue;
            expect_relu<real>(*this, rows, C);
            expect_relu<bfloat16>(*this, rows, C);
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
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            add_moments(device.exec, rows, C, device.in(x), stride, device.out(moments, errors),
                        device.scratch<double>(column_scratch(2, C)));
        });
        std::vector<double> sane = moments;
        for (index_t c = 0; c < C; ++c) sane[C + c] = 100 + sane[c] * sane[c];
        expect_parity(kFloat, [&](DeviceUnderTest& device) {
            actnorm_from_moments(device.exec, 10, C, device.in(sane), device.out(nans<real>(C)),
                                 device.out(nans<real>(C)));
        });
    }
    expect_parity(0, [&](DeviceUnderTest& device) {
        double* const x = device.out(nans<double>(1000));
        fill(device.exec, 1000, 2.5, x);
        copy(device.exec, 1000, x, device.out(nans<double>(1000)));
        fill(device.exec, 1003, 1.5f, device.out(nans<float>(1003)));  // the last pack is not whole
    });
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

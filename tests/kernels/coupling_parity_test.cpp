// Coupling layers, on a GPU against the CPU.
#include <gtest/gtest.h>

#include "kernels/coupling.h"
#include "kernels/density_map.h"
#include "kernels/reduce.h"
#include "tests/kernels/kernel_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceUnderTest;
using test::kDouble;
using test::KernelParity;
using test::kFloat;
using test::nans;
using test::Random;
using test::rounded;

TEST_P(KernelParity, Couplings) {
    Random random(7);
    for (const index_t C : {2, 12, 48}) {
        const index_t N = 3, rows = 40;
        const auto out = random.normals<real>(N * rows * C),
                   additive = random.normals<real>(N * rows * C / 2), dh = random.normals<real>(N * rows * C);
        const auto h = random.normals(N * rows * C), logdet = random.normals(N);
        const auto by_pixel = random.normals(N * rows);
        for (const CouplingScale scale : {CouplingScale::sigmoid, CouplingScale::tanh}) {
            expect_parity(kDouble, [&](DeviceUnderTest& device) {
                affine_coupling_forward(device.exec, N, rows, C, {scale, device.in(out)}, device.out(h),
                                        device.out(logdet), device.scratch<double>(group_scratch(N)));
            });
            expect_parity(kDouble, [&](DeviceUnderTest& device) {
                affine_coupling_forward_by_pixel(device.exec, N * rows, C, {scale, device.in(out)},
                                                 device.out(h), device.out(by_pixel));
            });
            expect_parity(kDouble, [&](DeviceUnderTest& device) {
                affine_coupling_inverse(device.exec, N * rows, C, {scale, device.in(out)}, device.out(h));
            });
            expect_parity(kFloat, [&](DeviceUnderTest& device) {
                affine_coupling_backward(device.exec, N * rows, C, -0.3, {scale, device.in(out)},
                                         device.out(nans<real>(N * rows * C)), device.out(h), device.out(dh));
            });
        }
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            additive_coupling_forward(device.exec, N * rows, C, device.in(additive), device.out(h));
        });
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            additive_coupling_inverse(device.exec, N * rows, C, device.in(additive), device.out(h));
        });
        expect_parity(kFloat, [&](DeviceUnderTest& device) {
            additive_coupling_backward(device.exec, N * rows, C, device.in(additive),
                                       device.out(nans<real>(N * rows * C / 2)), device.out(h),
                                       device.in(dh));
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
    expect_parity(0, [&](DeviceUnderTest& device) {
        join_condition(device.exec, rows, C, E, device.in(h), device.in(condition),
                       device.out(nans<state_t>(rows * (C / 2 + E))));
    });
    expect_parity(0, [&](DeviceUnderTest& device) {
        join_condition_backward(device.exec, rows, C, E, device.in(dinput), device.out(dh),
                                device.out(condition));
    });
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

// Coupling layers, on a GPU against the CPU.
#include <gtest/gtest.h>

#include "kernels/coupling.h"
#include "kernels/density_map.h"
#include "kernels/reduce.h"
#include "tests/kernels/kernel_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceSide;
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
            expect_parity(kDouble, [&](DeviceSide& side) {
                affine_coupling_forward(side.exec, N, rows, C, {scale, side.in(out)}, side.out(h),
                                        side.out(logdet), side.scratch<double>(group_scratch(N)));
            });
            expect_parity(kDouble, [&](DeviceSide& side) {
                affine_coupling_forward_by_pixel(side.exec, N * rows, C, {scale, side.in(out)}, side.out(h),
                                                 side.out(by_pixel));
            });
            expect_parity(kDouble, [&](DeviceSide& side) {
                affine_coupling_inverse(side.exec, N * rows, C, {scale, side.in(out)}, side.out(h));
            });
            expect_parity(kFloat, [&](DeviceSide& side) {
                affine_coupling_backward(side.exec, N * rows, C, -0.3, {scale, side.in(out)},
                                         side.out(nans<real>(N * rows * C)), side.out(h), side.out(dh));
            });
        }
        expect_parity(kDouble, [&](DeviceSide& side) {
            additive_coupling_forward(side.exec, N * rows, C, side.in(additive), side.out(h));
        });
        expect_parity(kDouble, [&](DeviceSide& side) {
            additive_coupling_inverse(side.exec, N * rows, C, side.in(additive), side.out(h));
        });
        expect_parity(kFloat, [&](DeviceSide& side) {
            additive_coupling_backward(side.exec, N * rows, C, side.in(additive),
                                       side.out(nans<real>(N * rows * C / 2)), side.out(h), side.in(dh));
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
    expect_parity(0, [&](DeviceSide& side) {
        join_condition(side.exec, rows, C, E, side.in(h), side.in(condition),
                       side.out(nans<state_t>(rows * (C / 2 + E))));
    });
    expect_parity(0, [&](DeviceSide& side) {
        join_condition_backward(side.exec, rows, C, E, side.in(dinput), side.out(dh), side.out(condition));
    });
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

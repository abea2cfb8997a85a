// Class conditions and the classifier, on a GPU against the CPU.
#include <gtest/gtest.h>

#include <cstdint>

#include "kernels/class_conditioning.h"
#include "tests/kernels/kernel_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceSide;
using test::kDouble;
using test::KernelParity;
using test::kFloat;
using test::nans;
using test::Random;

TEST_P(KernelParity, Classes) {
    Random random(16);
    const index_t N = 5, pixels = 4, C = 6, J = 2 * C, classes = 3;
    const std::vector<std::int32_t> labels = {2, 0, 1, 1, 2};
    const auto weight = random.normals<real>(classes * J), bias = random.normals<real>(J),
               logs = random.normals<real>(J, 0.2), map = random.normals<real>(pixels * J),
               maps = random.normals<real>(N * pixels * J);
    const auto sums = random.normals(N * J), z = random.normals(N * pixels * C);
    expect_parity(kFloat, [&](DeviceSide& side) {
        class_vectors(side.exec, classes, J, side.in(weight), side.in(bias), side.in(logs),
                      side.out(nans<real>(classes * J)));
    });
    expect_parity(kFloat, [&](DeviceSide& side) {
        class_maps(side.exec, N, pixels, J, side.in(map), side.in(weight), side.in(labels),
                   side.out(nans<real>(N * pixels * J)));
    });
    expect_parity(kFloat, [&](DeviceSide& side) {
        class_maps_backward(side.exec, N, pixels, J, side.in(maps), side.out(nans<real>(pixels * J)),
                            side.out(nans<double>(N * J)));
    });
    expect_parity(kFloat, [&](DeviceSide& side) {
        class_vectors_backward(side.exec, {N, classes, J, side.in(labels), side.in(sums)}, side.in(weight),
                               side.in(logs), {side.out(weight), side.out(bias), side.out(logs)});
    });
    const auto linear = random.normals<real>(C * classes);
    const auto means = random.normals(N * C);
    const auto logits = random.normals(N * classes);
    std::vector<double> probabilities(N * classes, 1.0 / 3);
    expect_parity(kDouble, [&](DeviceSide& side) {
        spatial_mean(side.exec, N, pixels, C, side.in(z), side.out(nans<double>(N * C)));
        class_logits(side.exec, N, C, classes, side.in(means),
                     {side.in(linear), side.in(bias), side.in(logs)}, side.out(nans<double>(N * classes)));
        cross_entropy(side.exec, N, classes, side.in(labels), side.out(logits), side.out(nans<double>(N)),
                      side.out(nans<double>(N)));
    });
    expect_parity(kFloat, [&](DeviceSide& side) {
        classifier_backward(
            side.exec, {N, pixels, C, classes, side.in(labels), side.in(means), side.in(probabilities)},
            {side.in(linear), side.in(bias), side.in(logs)}, 0.3, side.out(nans<double>(N * classes)),
            {side.out(linear), side.out(bias), side.out(logs)}, side.out(maps));
    });
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

// Class conditions and the classifier, on a GPU against the CPU.
#include <gtest/gtest.h>

#include <cstdint>

#include "kernels/class_conditioning.h"
#include "tests/kernels/kernel_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceUnderTest;
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
    expect_parity(kFloat, [&](DeviceUnderTest& device) {
        class_vectors(device.exec, classes, J, device.in(weight), device.in(bias), device.in(logs),
                      device.out(nans<real>(classes * J)));
    });
    expect_parity(kFloat, [&](DeviceUnderTest& device) {
        class_maps(device.exec, N, pixels, J, device.in(map), device.in(weight), device.in(labels),
                   device.out(nans<real>(N * pixels * J)));
    });
    expect_parity(kFloat, [&](DeviceUnderTest& device) {
        class_maps_backward(device.exec, N, pixels, J, device.in(maps), device.out(nans<real>(pixels * J)),
                            device.out(nans<double>(N * J)));
    });
    expect_parity(kFloat, [&](DeviceUnderTest& device) {
        class_vectors_backward(device.exec, {N, classes, J, device.in(labels), device.in(sums)},
                               device.in(weight), device.in(logs),
                               {device.out(weight), device.out(bias), device.out(logs)});
    });
    const auto linear = random.normals<real>(C * classes);
    const auto means = random.normals(N * C);
    const auto logits = random.normals(N * classes);
    std::vector<double> probabilities(N * classes, 1.0 / 3);
    expect_parity(kDouble, [&](DeviceUnderTest& device) {
        spatial_mean(device.exec, N, pixels, C, device.in(z), device.out(nans<double>(N * C)));
        class_logits(device.exec, N, C, classes, device.in(means),
                     {device.in(linear), device.in(bias), device.in(logs)},
                     device.out(nans<double>(N * classes)));
        cross_entropy(device.exec, N, classes, device.in(labels), device.out(logits),
                      device.out(nans<double>(N)), device.out(nans<double>(N)));
    });
    expect_parity(kFloat, [&](DeviceUnderTest& device) {
        classifier_backward(
            device.exec,
            {N, pixels, C, classes, device.in(labels), device.in(means), device.in(probabilities)},
            {device.in(linear), device.in(bias), device.in(logs)}, 0.3, device.out(nans<double>(N * classes)),
            {device.out(linear), device.out(bias), device.out(logs)}, device.out(maps));
    });
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

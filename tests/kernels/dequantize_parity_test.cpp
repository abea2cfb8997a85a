// Dequantization and its noise, on a GPU against the CPU.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "kernels/dequantize.h"
#include "kernels/reduce.h"
#include "kernels/variational_noise.h"
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

TEST_P(KernelParity, Dequantization) {
    for (const index_t D : {1, 48, 51})
        for (const Dequantization kind : {Dequantization::center, Dequantization::uniform}) {
            const index_t N = 3;
            Random random(8);
            const auto pixels = random.integers<std::uint8_t>(N * D, 0, 255);
            const std::vector<std::uint64_t> numbers = {5, 0, std::uint64_t{1} << 40};
            auto h = random.normals(N * D, 0.3);
            h[D] = std::numeric_limits<double>::quiet_NaN();
            const auto noise = [&](DeviceUnderTest& device) {
                return Noise{kind, 77, Purpose::dequantize, device.in(numbers)};
            };
            expect_parity(0, [&](DeviceUnderTest& device) {
                dequantize(device.exec, {N, D, 5, device.in(pixels)}, noise(device),
                           device.out(nans<double>(N * D)));
            });
            expect_parity(kDouble, [&](DeviceUnderTest& device) {
                dequantize_difference(device.exec, {N, D, 5, device.in(pixels)}, noise(device), device.in(h),
                                      device.out(nans<double>(N)), device.scratch<double>(group_scratch(N)));
            });
            expect_parity(0, [&](DeviceUnderTest& device) {
                largest_values(device.exec, N, D, device.in(h), device.out(nans<double>(N)),
                               device.scratch<double>(group_scratch(N)));
            });
            expect_parity(0, [&](DeviceUnderTest& device) {
                quantize(device.exec, N * D, 5, device.in(h),
                         device.out(std::vector<std::uint8_t>(N * D, 7)));
            });
        }
}

TEST_P(KernelParity, VariationalNoise) {
    for (const index_t D : {1, 48, 51}) {
        const index_t N = 3;
        Random random(9);
        const auto pixels = random.integers<std::uint8_t>(N * D, 0, 255);
        const std::vector<std::uint64_t> numbers = {5, 0, std::uint64_t{1} << 40};
        const auto logits = random.normals(N * D, 3), h = random.normals(N * D, 0.3),
                   sums = random.normals(N);
        const std::vector<real> dh = rounded<real>(random.normals(N * D));
        const auto noise = [&](DeviceUnderTest& device) {
            return Noise{Dequantization::variational, 77, Purpose::dequantize, device.in(numbers)};
        };
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            normal_noise(device.exec, N, D, noise(device), device.out(nans<double>(N * D)),
                         device.out(nans<double>(N)), device.scratch<double>(group_scratch(N)));
        });
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            normal_noise_difference(device.exec, N, D, noise(device), device.in(h), device.out(sums),
                                    device.scratch<double>(group_scratch(N)));
        });
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            dequantize_by_logits(device.exec, {N, D, 5, device.in(pixels)}, device.out(logits),
                                 device.out(nans<double>(N * D)), device.out(sums),
                                 device.scratch<double>(group_scratch(N)));
        });
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            dequantize_by_logits_difference(device.exec, {N, D, 5, device.in(pixels)}, device.in(logits),
                                            device.in(h), device.out(nans<double>(N)),
                                            device.scratch<double>(group_scratch(N)));
        });
        expect_parity(kFloat, [&](DeviceUnderTest& device) {
            dequantize_by_logits_backward(device.exec, N * D, 5, -0.3, device.in(logits), device.out(dh));
        });
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

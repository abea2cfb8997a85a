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

using test::DeviceSide;
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
            const auto noise = [&](DeviceSide& side) {
                return Noise{kind, 77, Purpose::dequantize, side.in(numbers)};
            };
            expect_parity(0, [&](DeviceSide& side) {
                dequantize(side.exec, {N, D, 5, side.in(pixels)}, noise(side), side.out(nans<double>(N * D)));
            });
            expect_parity(kDouble, [&](DeviceSide& side) {
                dequantize_difference(side.exec, {N, D, 5, side.in(pixels)}, noise(side), side.in(h),
                                      side.out(nans<double>(N)), side.scratch<double>(group_scratch(N)));
            });
            expect_parity(0, [&](DeviceSide& side) {
                largest_values(side.exec, N, D, side.in(h), side.out(nans<double>(N)),
                               side.scratch<double>(group_scratch(N)));
            });
            expect_parity(0, [&](DeviceSide& side) {
                quantize(side.exec, N * D, 5, side.in(h), side.out(std::vector<std::uint8_t>(N * D, 7)));
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
        const auto noise = [&](DeviceSide& side) {
            return Noise{Dequantization::variational, 77, Purpose::dequantize, side.in(numbers)};
        };
        expect_parity(kDouble, [&](DeviceSide& side) {
            normal_noise(side.exec, N, D, noise(side), side.out(nans<double>(N * D)),
                         side.out(nans<double>(N)), side.scratch<double>(group_scratch(N)));
        });
        expect_parity(kDouble, [&](DeviceSide& side) {
            normal_noise_difference(side.exec, N, D, noise(side), side.in(h), side.out(sums),
                                    side.scratch<double>(group_scratch(N)));
        });
        expect_parity(kDouble, [&](DeviceSide& side) {
            dequantize_by_logits(side.exec, {N, D, 5, side.in(pixels)}, side.out(logits),
                                 side.out(nans<double>(N * D)), side.out(sums),
                                 side.scratch<double>(group_scratch(N)));
        });
        expect_parity(kDouble, [&](DeviceSide& side) {
            dequantize_by_logits_difference(side.exec, {N, D, 5, side.in(pixels)}, side.in(logits),
                                            side.in(h), side.out(nans<double>(N)),
                                            side.scratch<double>(group_scratch(N)));
        });
        expect_parity(kFloat, [&](DeviceSide& side) {
            dequantize_by_logits_backward(side.exec, N * D, 5, -0.3, side.in(logits), side.out(dh));
        });
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

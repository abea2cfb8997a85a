// Densities and their sums, on a GPU against the CPU.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "kernels/density_map.h"
#include "kernels/gaussian.h"
#include "kernels/reduce.h"
#include "kernels/step_sums.h"
#include "tests/kernels/kernel_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceUnderTest;
using test::kDouble;
using test::KernelParity;
using test::kFloat;
using test::nans;
using test::Random;

TEST_P(KernelParity, Gaussians) {
    Random random(9);
    const index_t N = 3, rows = 20, C = 6;
    for (const bool shared : {false, true}) {
        const LatentShape latents{N, rows, C, shared ? C : 2 * C};
        const GaussianLayout layout = shared ? shared_gaussian(C) : interleaved_gaussian(C);
        const index_t second = shared ? C : 1;
        const auto parameters = random.normals<real>((shared ? 1 : N) * rows * 2 * C, 0.3);
        const auto z = random.normals(N * rows * latents.z_stride), logp = random.normals(N);
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            const real* const p = device.in(parameters);
            gaussian_log_density(device.exec, latents, {layout, p, p + second}, device.in(z),
                                 device.out(logp), device.scratch<double>(group_scratch(N)));
        });
        const auto by_pixel = random.normals(N * rows);
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            const real* const p = device.in(parameters);
            gaussian_log_density_by_pixel(device.exec, latents, {layout, p, p + second}, device.in(z),
                                          device.out(by_pixel));
        });
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            const real* const p = device.in(parameters);
            gaussian_encode(device.exec, latents, {layout, p, p + second}, device.out(z));
        });
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            const real* const p = device.in(parameters);
            gaussian_decode(device.exec, latents, {layout, p, p + second}, device.out(z));
        });
        expect_parity(kFloat, [&](DeviceUnderTest& device) {
            const real* const p = device.in(parameters);
            real* const dp = device.out(nans<real>(static_cast<index_t>(parameters.size())));
            gaussian_backward(device.exec, latents, {layout, p, p + second}, device.in(z), -0.3,
                              device.out(nans<real>(static_cast<index_t>(z.size()))), dp, dp + second);
        });
        const auto deps = random.normals<real>(static_cast<index_t>(z.size()));
        expect_parity(kFloat, [&](DeviceUnderTest& device) {
            const real* const p = device.in(parameters);
            real* const dp =
                shared ? nullptr : device.out(nans<real>(static_cast<index_t>(parameters.size())));
            gaussian_encode_backward(device.exec, latents, {layout, p, p + second}, device.in(z),
                                     device.out(deps), dp, shared ? nullptr : dp + second);
        });
    }
    for (const index_t size : {1, 2, 3, 4, 50})
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            gaussian_noise(device.exec, {3, 1, size, size}, 9, std::uint64_t{1} << 33, 2, 0.7,
                           device.out(nans<double>(3 * size)));
        });
}

TEST_P(KernelParity, BlockSums) {
    Random random(11);
    for (const index_t factor : {1, 2, 5}) {
        const index_t rows = 6, columns = 7;
        const auto fine = random.normals(rows * columns * factor * factor),
                   coarse = random.normals(rows * columns);
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            add_block_sums(device.exec, rows, columns, factor, device.in(fine), device.out(coarse));
        });
    }
}

TEST_P(KernelParity, StepSums) {
    for (const index_t N : {1, 5, 1000}) {
        Random random(17);
        const auto logdet = random.normals(N), prior = random.normals(N), bits = random.normals(N);
        auto difference = random.normals(N);
        // The density sum contains both sets of terms.
        const double error = test::sum_error<double>(2 * N + 1, logdet) +
                             test::sum_error<double>(2 * N + 1, prior) + test::sum_error<double>(N, bits);
        for (const bool broken : {false, true}) {
            if (broken) difference[N / 2] = std::numeric_limits<double>::quiet_NaN();
            expect_parity(kDouble, [&](DeviceUnderTest& device) {
                auto* const sums =
                    reinterpret_cast<StepSums*>(device.out(std::vector<double>{1, 2, 3, 0.5, 7}, {error}));
                add_step_sums(
                    device.exec, N,
                    {device.in(logdet), device.in(prior), device.in(bits), nullptr, device.in(difference)},
                    sums, device.scratch<double>(group_scratch(1)));
            });
        }
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

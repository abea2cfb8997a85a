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

using test::DeviceSide;
using test::kDouble;
using test::KernelParity;
using test::kFloat;
using test::nans;
using test::Random;

TEST_P(KernelParity, Gaussians) {
    Random random(9);
    const index_t N = 3, rows = 20, C = 6;
    for (const bool shared : {false, true}) {
        const Latents latents{N, rows, C, shared ? C : 2 * C};
        const GaussianLayout layout = shared ? shared_gaussian(C) : interleaved_gaussian(C);
        const index_t second = shared ? C : 1;
        const auto parameters = random.normals<real>((shared ? 1 : N) * rows * 2 * C, 0.3);
        const auto z = random.normals(N * rows * latents.z_stride), logp = random.normals(N);
        expect_parity(kDouble, [&](DeviceSide& side) {
            const real* const p = side.in(parameters);
            gaussian_log_density(side.exec, latents, {layout, p, p + second}, side.in(z), side.out(logp),
                                 side.scratch<double>(group_scratch(N)));
        });
        const auto by_pixel = random.normals(N * rows);
        expect_parity(kDouble, [&](DeviceSide& side) {
            const real* const p = side.in(parameters);
            gaussian_log_density_by_pixel(side.exec, latents, {layout, p, p + second}, side.in(z),
                                          side.out(by_pixel));
        });
        expect_parity(kDouble, [&](DeviceSide& side) {
            const real* const p = side.in(parameters);
            gaussian_encode(side.exec, latents, {layout, p, p + second}, side.out(z));
        });
        expect_parity(kDouble, [&](DeviceSide& side) {
            const real* const p = side.in(parameters);
            gaussian_decode(side.exec, latents, {layout, p, p + second}, side.out(z));
        });
        expect_parity(kFloat, [&](DeviceSide& side) {
            const real* const p = side.in(parameters);
            real* const dp = side.out(nans<real>(static_cast<index_t>(parameters.size())));
            gaussian_backward(side.exec, latents, {layout, p, p + second}, side.in(z), -0.3,
                              side.out(nans<real>(static_cast<index_t>(z.size()))), dp, dp + second);
        });
    }
    for (const index_t size : {1, 2, 3, 4, 50})
        expect_parity(kDouble, [&](DeviceSide& side) {
            gaussian_noise(side.exec, {3, 1, size, size}, 9, std::uint64_t{1} << 33, 2, 0.7,
                           side.out(nans<double>(3 * size)));
        });
}

TEST_P(KernelParity, BlockSums) {
    Random random(11);
    for (const index_t factor : {1, 2, 5}) {
        const index_t rows = 6, columns = 7;
        const auto fine = random.normals(rows * columns * factor * factor),
                   coarse = random.normals(rows * columns);
        expect_parity(kDouble, [&](DeviceSide& side) {
            add_block_sums(side.exec, rows, columns, factor, side.in(fine), side.out(coarse));
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
            expect_parity(kDouble, [&](DeviceSide& side) {
                auto* const sums =
                    reinterpret_cast<StepSums*>(side.out(std::vector<double>{1, 2, 3, 0.5, 7}, {error}));
                add_step_sums(side.exec, N,
                              {side.in(logdet), side.in(prior), side.in(bits), nullptr, side.in(difference)},
                              sums, side.scratch<double>(group_scratch(1)));
            });
        }
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

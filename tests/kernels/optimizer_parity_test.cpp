// Optimizer steps on a GPU against the CPU.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/optimizer.h"
#include "tests/kernels/kernel_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceUnderTest;
using test::KernelParity;
using test::kFloat;
using test::Random;

TEST_P(KernelParity, Optimizer) {
    Random random(13);
    for (const index_t count : {1, 16, 1000, 1001})
        for (const bool adam : {false, true})
            for (const bool averaged : {false, true}) {
                OptimizerStep step;
                step.adam = adam;
                step.lr_t = 0.01;
                step.weight_decay = 0.1;
                step.gradient_scale = 0.5;
                step.ema_rate = 0.2;
                auto v = random.normals<real>(count);
                for (real& x : v) x = std::abs(x);
                const auto g = random.normals<real>(count), w = random.normals<real>(count),
                           m = random.normals<real>(count), ema = random.normals<real>(count);
                expect_parity(kFloat, [&](DeviceUnderTest& device) {
                    optimizer_step(device.exec, count, step, device.in(g),
                                   OptimizerArrays{device.out(w), device.out(m), device.out(v),
                                                   averaged ? device.out(ema) : nullptr});
                });
                // bf16: equal bits unless the rounded value differs in its last digit; also for guarded
                // updates.
                std::vector<bfloat16> m_bf16, v_bf16;
                for (const real x : m) m_bf16.push_back(round_to<bfloat16>(x));
                for (const real x : v) v_bf16.push_back(round_to<bfloat16>(x));
                expect_parity(1e-2, [&](DeviceUnderTest& device) {
                    optimizer_step(device.exec, count, step, device.in(g),
                                   OptimizerArrays{device.out(w), device.out(m_bf16), device.out(v_bf16),
                                                   averaged ? device.out(ema) : nullptr});
                });
                expect_parity(kFloat, [&](DeviceUnderTest& device) {
                    optimizer_step(device.exec, count, device.in(std::vector<OptimizerStep>{step}),
                                   device.in(std::vector<double>{1.0}), device.in(g),
                                   OptimizerArrays{device.out(w), device.out(m), device.out(v),
                                                   averaged ? device.out(ema) : nullptr, 0});
                });
            }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

// Saved states and permutations, on a GPU against the CPU.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <utility>

#include "kernels/saved_state.h"
#include "kernels/squeeze_split.h"
#include "tests/kernels/kernel_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceUnderTest;
using test::KernelParity;
using test::nans;
using test::Random;
using test::rounded;

template <class Map>
void expect_roundings(KernelParity& parity, index_t rows, index_t C) {
    SCOPED_TRACE(testing::Message() << rows << " " << C);
    Random random(18);
    auto h = random.normals(rows * C);
    for (index_t i = 0; i < rows * C; i += 5) {  // on a rounding boundary, and tiny
        const auto q = static_cast<float>(h[i]);
        h[i] = i % 2 == 0 ? 0.5 * (static_cast<double>(q) + std::nextafter(q, 10.0f)) : 1e-9 * h[i];
    }
    auto rebuilt = h;
    for (double& x : rebuilt) x += 1e-10 * random.normal();
    const index_t words = rounding_words(rows, C);
    // Compare words as halves, so that every bit counts.
    const std::vector<std::uint32_t> halves(static_cast<std::size_t>(2 * words), 0x5a5a5a5a);
    parity.expect_parity(0, [&](DeviceUnderTest& device) {
        auto* const saved = reinterpret_cast<std::uint64_t*>(device.out(halves));
        save_roundings<Map>(device.exec, rows, C, device.in(h), saved);
        restore_roundings<Map>(device.exec, rows, C, saved, device.out(rebuilt));
    });
}

template <class T>
void expect_permutations(KernelParity& parity) {
    const index_t N = 2, H = 6, W = 4, C = 3;
    const auto h = rounded<T>(Random(4).normals(N * H * W * C * 4));
    const auto each = [&](auto run) {
        parity.expect_parity(0, [&](DeviceUnderTest& device) {
            run(device.exec, device.out(h), device.scratch<T>(static_cast<index_t>(h.size())));
        });
    };
    each([&](const Exec& p, T* x, T* scratch) { squeeze(p, N, 2 * H, 2 * W, C, x, scratch); });
    each([&](const Exec& p, T* x, T* scratch) { unsqueeze(p, N, 2 * H, 2 * W, C, x, scratch); });
    each([&](const Exec& p, T* x, T* scratch) { split_halves(p, N * H * W, 4 * C, x, scratch); });
    each([&](const Exec& p, T* x, T* scratch) { merge_halves(p, N * H * W, 4 * C, x, scratch); });
}

TEST_P(KernelParity, SavedStates) {
    for (const auto& [rows, C] : {std::pair<index_t, index_t>{1, 4}, {61, 12}, {62, 12}, {500, 24}}) {
        expect_roundings<float>(*this, rows, C);
        expect_roundings<bfloat16>(*this, rows, C);
    }
    auto noisy = Random(20).normals(1000);
    for (double& x : noisy) x = std::floor(x * 0x1p30) * 0x1p-30 + 0x1p-31 + 0x1p-36 * (x > 1);
    expect_parity(
        0, [&](DeviceUnderTest& device) { restore_noisy_pixels(device.exec, 1000, device.out(noisy)); });
    const auto h = Random(19).normals(1000);
    expect_parity(0, [&](DeviceUnderTest& device) {
        float* const saved = device.out(nans<float>(1000));
        save_float(device.exec, 1000, device.in(h), saved);
        restore_float(device.exec, 1000, saved, device.out(nans<double>(1000)));
    });
}

TEST_P(KernelParity, Permutations) {
    expect_permutations<double>(*this);
    expect_permutations<real>(*this);
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

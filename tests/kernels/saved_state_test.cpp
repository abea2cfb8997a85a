#include "kernels/saved_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/math.h"
#include "tests/support.h"

namespace glow {
namespace {

using test::Random;

const Exec kExec{Device::cpu, 2, nullptr};

// Elements of all sizes: order one, tiny, exactly on and next to rounding boundaries, 0.
std::vector<double> state(index_t count, std::uint64_t seed) {
    Random random(seed);
    std::vector<double> h = random.normals(count);
    for (index_t i = 0; i < count; ++i) {
        if (i % 7 == 1) h[i] *= std::exp(-30 * std::abs(random.normal()));
        if (i % 11 == 2) {  // halfway between two floats, or next to it
            const auto q = static_cast<float>(h[i]);
            h[i] = 0.5 * (static_cast<double>(q) + std::nextafter(q, 10.0f)) + 1e-15 * (i % 3 - 1.0);
        }
        if (i % 97 == 3) h[i] = 0;
    }
    return h;
}

// Lower bound of half a step of round_state<T>() at x.
template <class T>
double half_step(double x) {
    return 0.5 * std::max(0x1p-30, std::abs(x) * (sizeof(T) == 2 ? 0x1p-8 : 0x1p-24));
}

template <class T>
double seen(double x) {
    return widen(round_state<T>(x));
}

TEST(RoundState, MatchesTypeRoundingAboveGrid) {
    for (const double x : state(20000, 1)) {
        const double error = std::abs(seen<float>(x) - x);
        EXPECT_LE(error, std::max(0x1p-31, std::abs(x) * 0x1p-24)) << x;
        EXPECT_EQ(std::remainder(seen<float>(x), 0x1p-30), 0) << x;
        if (std::abs(x) >= 0x1p-6) {
            EXPECT_EQ(seen<float>(x), static_cast<float>(x));
            EXPECT_EQ(seen<bfloat16>(x), widen(round_to<bfloat16>(x)));
        }
        EXPECT_EQ(round_state<double>(x), x);
    }
    EXPECT_TRUE(std::isnan(round_state<float>(std::nan(""))));
    EXPECT_TRUE(std::isinf(round_state<float>(-HUGE_VAL)));
    for (double x = -0.1; x < 0.1; x += 1.7e-6)  // monotonic
        EXPECT_LE(seen<float>(x), seen<float>(std::nextafter(x, 1.0)));
}

// A reconstructed state: the true one with each element moved by up to `share` of half a step.
template <class T>
std::vector<double> drifted(const std::vector<double>& h, double share, std::uint64_t seed) {
    Random random(seed);
    std::vector<double> result = h;
    for (double& x : result) x += share * half_step<T>(x) * std::tanh(random.normal());
    return result;
}

template <class Map>
void expect_network_inputs_restored(index_t rows, index_t C) {
    const std::vector<double> h = state(rows * C, 5);
    std::vector<std::uint64_t> words(rounding_words(rows, C));
    save_roundings<Map>(kExec, rows, C, h.data(), words.data());
    for (const double share : {1e-6, 0.3, 0.99}) {
        std::vector<double> rebuilt = drifted<Map>(h, share, 6);
        const std::vector<double> before = rebuilt;
        restore_roundings<Map>(kExec, rows, C, words.data(), rebuilt.data());
        index_t moved = 0, wrong = 0;
        for (index_t i = 0; i < rows * C; ++i) {
            if (i % C >= C / 2) continue;
            moved += seen<Map>(before[i]) != seen<Map>(h[i]);
            wrong += seen<Map>(rebuilt[i]) != seen<Map>(h[i]);
            // Never moved further than it had drifted, except by the parity over float rows, which may err.
            if (sizeof(Map) == 4 && share < 0.1) {
                EXPECT_LE(std::abs(rebuilt[i] - h[i]), std::abs(before[i] - h[i]) * (1 + 1e-9));
            }
        }
        EXPECT_EQ(wrong, 0) << rows << " " << C << " " << share;
        if (rows * C > 1000 && share > 0.1) {
            EXPECT_GT(moved, 0) << "nothing to restore";
        }
    }
}

TEST(SavedRoundings, RestoreNetworkInputsWithinHalfStep) {
    for (const auto& [rows, C] :
         {std::pair<index_t, index_t>{1000, 12}, {61, 4}, {62, 4}, {63, 4}, {1, 24}, {700, 48}}) {
        expect_network_inputs_restored<float>(rows, C);
        expect_network_inputs_restored<bfloat16>(rows, C);
    }
}

TEST(SavedRoundings, RestoreFloatsAfterSmallDrift) {
    const index_t rows = 5000, C = 24;
    Random random(9);
    std::vector<double> h = random.normals(rows * C);
    std::vector<double> rebuilt = h;
    // A drift of 3e-15, as after a few steps, at every 1100th element, which lies on a rounding boundary.
    for (index_t i = 2; i < rows * C; i += 1100) {
        const auto q = static_cast<float>(h[i]);
        h[i] = 0.5 * (static_cast<double>(q) + std::nextafter(q, 10.0f));
        rebuilt[i] = h[i] + 3e-15 * random.normal();
    }
    std::vector<std::uint64_t> words(rounding_words(rows, C));
    const auto flips = [&](const std::vector<double>& state) {
        index_t count = 0;
        for (index_t i = 0; i < rows * C; ++i) count += seen<float>(state[i]) != seen<float>(h[i]);
        return count;
    };
    const std::vector<double> before = rebuilt;
    EXPECT_GT(flips(before), 10);
    save_roundings<float>(kExec, rows, C, h.data(), words.data());
    restore_roundings<float>(kExec, rows, C, words.data(), rebuilt.data());
    EXPECT_EQ(flips(rebuilt), 0);
    // With bf16 networks the roundings to float have parities too.
    rebuilt = before;
    save_roundings<bfloat16>(kExec, rows, C, h.data(), words.data());
    restore_roundings<bfloat16>(kExec, rows, C, words.data(), rebuilt.data());
    EXPECT_EQ(flips(rebuilt), 0);
}

// Of 5 bits, half of the pixels in the two middle bins lie between two floats, and of 1 bit half of all.
TEST(NoisyPixels, AreRestoredOnRoundingBoundaries) {
    for (const int bits : {1, 4, 5, 6, 7, 8}) {
        Random random(static_cast<std::uint64_t>(bits));
        std::vector<double> h(5000);
        for (double& x : h) {
            const double bins = 1 << bits,
                         bin = std::floor(bins / 2 + std::clamp(random.normal(), -1.0, 0.99)),
                         noise = std::floor(0x1p24 * random.uniform(0, 1)) + 0.5;
            x = (bin + noise * 0x1p-24) / bins - 0.5;
        }
        std::vector<double> rebuilt = h;
        for (double& x : rebuilt) x += 1e-15 * random.normal();
        const auto flips = [&] {
            index_t count = 0;
            for (std::size_t i = 0; i < h.size(); ++i) count += seen<float>(rebuilt[i]) != seen<float>(h[i]);
            return count;
        };
        if (bits < 7) {
            EXPECT_GT(flips(), 500) << bits;
        }
        const std::vector<double> before = rebuilt;
        restore_noisy_pixels(kExec, std::ssize(rebuilt), rebuilt.data());
        EXPECT_EQ(flips(), 0) << bits;
        EXPECT_EQ(rebuilt == before, bits >= 7) << bits;  // drift of other pixels is still measured
    }
}

TEST(SavedRoundings, KeepExactStates) {
    const index_t rows = 333, C = 12;
    std::vector<double> h = state(rows * C, 3);
    const std::vector<double> before = h;
    std::vector<std::uint64_t> words(rounding_words(rows, C));
    save_roundings<float>(kExec, rows, C, h.data(), words.data());
    restore_roundings<float>(kExec, rows, C, words.data(), h.data());
    EXPECT_EQ(h, before);
}

TEST(SavedRoundings, UseOneBitPerNetworkInput) {
    const index_t rows = 62 * 100, C = 24;
    EXPECT_EQ(rounding_words(rows, C) * 62, rows * C / 2);
    EXPECT_EQ(rounding_words(rows + 1, C), rounding_words(rows, C) + C / 2);
}

TEST(SaveFloat, MatchesGradientRounding) {
    const std::vector<double> h = state(5000, 4);
    std::vector<float> saved(h.size());
    std::vector<double> back(h.size());
    save_float(kExec, 5000, h.data(), saved.data());
    restore_float(kExec, 5000, saved.data(), back.data());
    for (std::size_t i = 0; i < h.size(); ++i) {
        EXPECT_EQ(back[i], seen<float>(h[i]));
        EXPECT_EQ(seen<float>(back[i]), seen<float>(h[i]));
    }
}

}  // namespace
}  // namespace glow

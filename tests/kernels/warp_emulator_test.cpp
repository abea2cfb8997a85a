// The emulator of warps: exchange between lanes, barriers, and detection of races.
#define GLOW_HOST_ONLY  // emulated kernels run on host memory in a CUDA build too
#include "tests/kernels/warp_emulator.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace glow::inline GLOW_REAL {
namespace {

using test::WarpEmulator;

TEST(WarpEmulator, ReportsThreadsThatWaitForever) {
    WarpEmulator block(64, 16);
    EXPECT_THROW(block.run(0, 0,
                           [](const BlockThread& at) {
                               if (at.thread < 40) sync_threads();
                           }),
                 std::logic_error);
    EXPECT_THROW(block.run(0, 0,
                           [](const BlockThread&) {
                               unsigned m[4];
                               load_matrices(m, 8);  // misaligned
                           }),
                 std::logic_error);
    block.run(0, 0, [](const BlockThread&) { sync_threads(); });
}

// What another warp wrote to shared memory, with and without the required barrier.
template <bool kBarrier>
std::vector<float> exchanged() {
    std::vector<float> sums(64, -1);
    WarpEmulator block(64, 64 * sizeof(float));
    block.run(0, 0, [&](const BlockThread& at) {
        float* const values = static_cast<float*>(at.shared);
        values[at.thread] = static_cast<float>(at.thread);
        if (kBarrier) sync_threads();
        sums[at.thread] = values[63 - at.thread];
    });
    return sums;
}

TEST(WarpEmulator, RacesShow) {
    for (int i = 0; i < 64; ++i) EXPECT_EQ(exchanged<true>()[i], 63 - i);
    EXPECT_NE(exchanged<false>(), exchanged<true>());
}

// [16, 16] times [16, 8], with elements distributed as kernels/tensor_core.cuh describes.
TEST(WarpEmulator, MultipliesMatrices) {
    WarpEmulator block(32, 2 * (16 * 16 + 16 * 16));
    float found[16][8];
    block.run(0, 0, [&](const BlockThread& at) {
        bfloat16* const left = static_cast<bfloat16*>(at.shared);
        bfloat16* const right = left + 256;
        for (int i = at.thread; i < 256; i += 32)
            left[i] = round_to<bfloat16>(i % 7 - 3), right[i] = round_to<bfloat16>(i % 5 - 2);
        sync_threads();
        unsigned a[4], transposed[4], b[2], other[2];
        load_left(a, shared_address(left) + left_offset(at.thread, 16));
        load_left_transposed(transposed, shared_address(left) + left_transposed_offset(at.thread, 16));
        load_right(b, other, shared_address(right) + right_offset(at.thread, 16));
        float c[4] = {};
        multiply_add(c, a, b);
        multiply_add(c, transposed, b);
        for (int i = 0; i < 4; ++i) found[at.thread / 4 + i / 2 * 8][at.thread % 4 * 2 + i % 2] = c[i];
    });
    for (int row = 0; row < 16; ++row)
        for (int column = 0; column < 8; ++column) {
            int sum = 0;
            for (int k = 0; k < 16; ++k)
                sum += ((16 * row + k) % 7 - 3 + (16 * k + row) % 7 - 3) * ((16 * k + column) % 5 - 2);
            EXPECT_EQ(found[row][column], static_cast<float>(sum)) << row << " " << column;
        }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

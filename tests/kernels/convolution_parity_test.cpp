// im2col, col2im and convolutions, on a GPU against the CPU.
#include <gtest/gtest.h>

#include <utility>

#include "kernels/convolution.h"
#include "kernels/reduce.h"
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

template <class S, class Map>
void expect_im2col(KernelParity& parity, index_t C, bool edge, bool one, Taps taps, index_t padding,
                   const ImageRows& rows = {5, 6, 3, 11}) {
    const index_t H = rows.H, W = rows.W, N = (rows.end + H - 1) / H, source_stride = C + 2;
    const index_t used = 9 * (C + edge) + one, stride = (used + padding - 1) / padding * padding;
    const auto source = rounded<S>(Random(1).normals(N * H * W * source_stride));
    SCOPED_TRACE(testing::Message() << C << edge << one << static_cast<int>(taps) << " stride " << stride);
    parity.expect_parity(0, [&](DeviceUnderTest& device) {
        im2col(device.exec, rows, {C, edge, one, stride}, taps, device.in(source), source_stride,
               device.out(nans<Map>(rows.pixels() * stride)));
    });
}

// Runs the cases of all *_parity_test.cpp.
INSTANTIATE_TEST_SUITE_P(Targets, KernelParity, testing::Values(test::kGpuPaths, test::kCuda),
                         test::target_name);

// Strides in whole packs (16 bytes at a time) and others.
TEST_P(KernelParity, Im2col) {
    for (const index_t C : {1, 6, 24})
        for (const bool edge : {false, true})
            for (const bool one : {false, true})
                for (const Taps taps : {Taps::direct, Taps::mirrored})
                    for (const index_t padding : {1, 8}) {
                        expect_im2col<state_t, real>(*this, C, edge, one, taps, padding);
                        expect_im2col<real, real>(*this, C, edge, one, taps, padding);
                        expect_im2col<state_t, bfloat16>(*this, C, edge, one, taps, padding);
                        expect_im2col<real, bfloat16>(*this, C, edge, one, taps, padding);
                    }
}

// The published shapes, images wider than a tile, blocks that start within an image, and so many channels
// that a tile is one pixel or less.
TEST_P(KernelParity, Im2colTiles) {
    for (const auto& [C, rows] : {std::pair<index_t, ImageRows>{6, {16, 16, 0, 32}},
                                  {12, {8, 8, 0, 16}},
                                  {24, {4, 4, 0, 12}},
                                  {3, {16, 40, 4, 20}},
                                  {3, {6, 33, 2, 9}},
                                  {700, {3, 5, 0, 3}},
                                  {3000, {2, 2, 0, 2}}})
        for (const Taps taps : {Taps::direct, Taps::mirrored}) {
            expect_im2col<state_t, real>(*this, C, true, true, taps, 8, rows);
            expect_im2col<state_t, bfloat16>(*this, C, true, true, taps, 8, rows);
            expect_im2col<real, bfloat16>(*this, 2 * C, false, false, taps, 8, rows);
        }
}

// Among others the published shapes, blocks that begin and end within an image, and images so tall that the kernel
// finds a row's place in its image in another way.
TEST_P(KernelParity, Col2im) {
    Random random(5);
    // Ten terms of normal numbers, each below 5.
    const double error = test::sum_error<real>(10, std::vector<double>(10, 5.0));
    for (const auto& [C, rows] : {std::pair<index_t, ImageRows>{7, {5, 6, 3, 11}},
                                  {6, {16, 16, 0, 32}},
                                  {24, {4, 4, 0, 12}},
                                  {3, {16, 40, 4, 20}},
                                  {1, {33000, 1, 32500, 33500}}}) {
        const index_t N = (rows.end + rows.H - 1) / rows.H, target_stride = C + 2, stride = 9 * C + 1;
        const auto columns = random.normals<real>(rows.pixels() * stride),
                   target = random.normals<real>(N * rows.H * rows.W * target_stride);
        const Columns layout{C, false, false, stride};
        const ImageRows block = rows;  // clang 14 cannot capture structured bindings
        for (const Taps taps : {Taps::direct, Taps::mirrored})
            expect_parity(0, [&, target_stride](DeviceUnderTest& device) {
                col2im(device.exec, block, layout, taps, device.in(columns), device.out(target, {error}),
                       target_stride);
            });
    }
}

TEST_P(KernelParity, ZeroConvolution) {
    Random random(6);
    for (const index_t C : {3, 12, 40}) {
        const index_t H = 4, W = 5, N = 70, rows = N * H * W;
        const auto logs = random.normals<real>(C, 0.2), bias = random.normals<real>(C),
                   weight = random.normals<real>(C * 9 * 3), out = random.normals<real>(rows * C),
                   dout = random.normals<real>(rows * C);
        const auto scale = random.normals(C);
        expect_parity(kDouble, [&](DeviceUnderTest& device) {
            exp_scale(device.exec, C, device.in(logs), device.out(nans<double>(C)));
        });
        for (const bool edge : {false, true})
            expect_parity(kFloat, [&](DeviceUnderTest& device) {
                zero_convolution_finish(device.exec, {H, W, 0, N * H}, C, edge ? device.in(weight) : nullptr,
                                        3, device.in(bias), device.in(scale), device.out(out));
            });
        expect_parity(kFloat, [&](DeviceUnderTest& device) {
            zero_convolution_backward(device.exec, rows, C, device.in(scale), device.in(out),
                                      device.out(dout), {device.out(bias), device.out(logs)},
                                      device.scratch<double>(column_scratch(2, C)));
        });
        expect_parity(kFloat, [&](DeviceUnderTest& device) {
            edge_weight_backward(device.exec, ImageRows::of_images(N, H, W), C, device.in(dout),
                                 device.out(weight), 3, device.scratch<double>(column_scratch(9, C)));
        });
    }
    // Images of one row or column consist only of edge pixels.
    for (const auto& size : {std::pair<index_t, index_t>{1, 1}, {1, 4}, {4, 1}, {2, 2}}) {
        const index_t H = size.first, W = size.second;  // clang 14 cannot capture structured bindings
        const auto dpre = random.normals<real>(3 * H * W * 2);
        expect_parity(kFloat, [&](DeviceUnderTest& device) {
            edge_weight_backward(device.exec, ImageRows::of_images(3, H, W), 2, device.in(dpre),
                                 device.out(std::vector<real>(18, real{1})), 1,
                                 device.scratch<double>(column_scratch(9, 2)));
        });
    }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

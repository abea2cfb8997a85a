// Folded weights and their gradients, on a GPU against the CPU.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <utility>

#include "kernels/actnorm_fold.h"
#include "tests/kernels/kernel_parity.h"

namespace glow::inline GLOW_REAL {
namespace {

using test::DeviceUnderTest;
using test::KernelParity;
using test::kFloat;
using test::kRounding;
using test::nans;
using test::Random;

void expect_folding(KernelParity& parity, index_t out, index_t K, index_t stride) {
    SCOPED_TRACE(testing::Message() << out << " " << K << " " << stride);
    Random random(2);
    const auto W = random.normals<real>(out * K), bias = random.normals<real>(out),
               logs = random.normals<real>(out, 0.2), d = random.normals<real>(out * stride),
               dc = random.normals<real>(out);
    parity.expect_parity(kRounding<real>, [&](DeviceUnderTest& device) {
        fold_actnorm(device.exec, out, K, stride, device.in(W), device.in(bias), device.in(logs),
                     device.out(nans<real>(out * stride)));
    });
    for (const bool separate : {false, true}) {
        if (!separate && stride == K) continue;
        parity.expect_parity(kRounding<real>, [&](DeviceUnderTest& device) {
            unfold_actnorm(device.exec, {out, K, stride, device.in(W), device.in(bias), device.in(logs),
                                         device.in(d), separate ? device.in(dc) : nullptr, device.out(W),
                                         device.out(bias), device.out(logs)});
        });
    }
}

// All of a network's gradient in one call: both convolutions as each alone, and sums over images in the order
// of the last one's parameters. Sums of whole numbers are exact: no image is lost or taken twice.
void expect_unfolded_network(KernelParity& parity, bool edge, TapOrder order) {
    Random random(3);
    const index_t C = 6, w = 150, K = 27, stride = 32, N = 300, depth = w + edge;
    const auto W1 = random.normals<real>(w * K), W2 = random.normals<real>(w * w),
               bias = random.normals<real>(w), logs = random.normals<real>(w, 0.2),
               d1 = random.normals<real>(w * stride), d2 = random.normals<real>(w * w),
               d3 = random.normals<real>(9 * C * w), W3 = random.normals<real>(C * 9 * depth);
    const auto sums = random.integers<double>((edge ? 11 : 2) * C * N);
    std::vector<real> dbias3(C), dlogs3(C), dW3 = W3;
    for (index_t c = 0; c < C; ++c)
        for (index_t n = 0; n < N; ++n) {
            dbias3[c] += static_cast<real>(sums[c * N + n]);
            dlogs3[c] += static_cast<real>(3 * sums[(C + c) * N + n]);
        }
    for (index_t row = 0; row < 9 * C && edge; ++row) {
        const index_t c = row / 9, kind = 2 + row % 9;
        double sum = 0;
        for (index_t n = 0; n < N; ++n) sum += sums[(kind * C + c) * N + n];
        dW3[row * depth + w] += static_cast<real>(sum);
    }
    for (index_t c = 0; c < C; ++c)
        for (index_t tap = 0; tap < 9; ++tap)
            for (index_t i = 0; i < w; ++i)
                dW3[(c * 9 + tap) * depth + i] +=
                    d3[(order == TapOrder::taps_first ? tap * C + c : c * 9 + tap) * w + i];
    DeviceUnderTest expected(test::cpu()), found(parity.target());
    const auto convolutions = [&](DeviceUnderTest& device, auto run) {
        const ActnormUnfolding conv1{w,
                                     K,
                                     stride,
                                     device.in(W1),
                                     device.in(bias),
                                     device.in(logs),
                                     device.in(d1),
                                     nullptr,
                                     device.out(W1),
                                     device.out(bias),
                                     device.out(logs)};
        const ActnormUnfolding conv2{w,
                                     w,
                                     w,
                                     device.in(W2),
                                     device.in(bias),
                                     device.in(logs),
                                     device.in(d2),
                                     device.in(bias),
                                     device.out(W2),
                                     device.out(bias),
                                     device.out(logs)};
        run(conv1, conv2);
    };
    convolutions(expected, [&](const ActnormUnfolding& conv1, const ActnormUnfolding& conv2) {
        unfold_actnorm(expected.exec, conv1);
        unfold_actnorm(expected.exec, conv2);
        expected.out(dW3), expected.out(dbias3), expected.out(dlogs3);
    });
    convolutions(found, [&](const ActnormUnfolding& conv1, const ActnormUnfolding& conv2) {
        unfold_network(found.exec, {conv1,
                                    conv2,
                                    {C, w, edge, order, found.in(d3), found.in(sums), N, found.out(W3),
                                     found.out(std::vector<real>(C)), found.out(std::vector<real>(C))}});
    });
    const auto a = expected.results(), b = found.results();
    for (std::size_t array = 0; array < a.size(); ++array)
        for (std::size_t i = 0; i < a[array].size(); ++i)
            ASSERT_NEAR(b[array][i], a[array][i], kRounding<real> * (1 + std::abs(a[array][i])))
                << "array " << array << ", element " << i;
}

// Two levels, of three networks and of one; a width above and one below a block's threads.
template <class Map>
void expect_folded_networks(KernelParity& parity, bool edge, TapOrder order) {
    SCOPED_TRACE(testing::Message() << edge << static_cast<int>(order));
    Random random(4);
    struct Level {
        index_t networks, w, K, stride, C, rows3;
    };
    const Level levels[] = {{3, 40, 31, 32, 5, 48}, {1, 300, 9, 16, 2, 24}};
    const index_t step = 300 * 320 * 2;
    const auto parameters = random.normals<real>(3 * step, 0.2);
    parity.expect_parity(kRounding<Map>, [&](DeviceUnderTest& device) {
        std::vector<NetworkFolding<Map>> foldings;
        for (const auto& [n, w, K, stride, C, rows3] : levels) {
            const real* at = device.in(parameters);
            const auto next = [&](index_t size) { return std::exchange(at, at + size); };
            const real *const W1 = next(w * K), *const bias1 = next(w), *const logs1 = next(w),
                              *const W2 = next(w * w), *const bias2 = next(w), *const logs2 = next(w),
                              *const logs3 = next(C), *const W3 = next(0);
            foldings.push_back({n,
                                step,
                                w,
                                K,
                                stride,
                                C,
                                rows3,
                                edge,
                                order,
                                W1,
                                bias1,
                                logs1,
                                W2,
                                bias2,
                                logs2,
                                W3,
                                logs3,
                                device.out(nans<Map>(n * w * stride)),
                                device.out(nans<Map>(n * w * w)),
                                device.out(nans<Map>(n * rows3 * w)),
                                device.out(std::vector<real>(n * (w + 8))),
                                w + 8,
                                device.out(nans<double>(n * C)),
                                device.out(std::vector<Map>(n * (w + 8)))});
        }
        fold_networks<Map>(device.exec, foldings);
    });
}

TEST_P(KernelParity, Folding) {
    for (const auto& [out, K, stride] :
         {std::array<index_t, 3>{7, 13, 16}, {512, 63, 64}, {33, 300, 300}, {1, 1, 8}, {5, 1000, 1008}})
        expect_folding(*this, out, K, stride);
    Random random(11);
    const index_t C = 5, w = 40, stride = 48;
    for (const bool edge : {false, true})
        for (const TapOrder order : {TapOrder::taps_first, TapOrder::outputs_first}) {
            expect_folded_networks<real>(*this, edge, order);
            expect_folded_networks<bfloat16>(*this, edge, order);
            const auto W = random.normals<real>(C * 9 * (w + edge)), d = random.normals<real>(stride * w);
            expect_parity(kFloat, [&](DeviceUnderTest& device) {
                unfold_network(device.exec, {.conv3 = {C, w, edge, order, device.in(d), nullptr, 0,
                                                       device.out(W), nullptr, nullptr}});
            });
            expect_unfolded_network(*this, edge, order);
        }
}

}  // namespace
}  // namespace glow::inline GLOW_REAL

// Gradients through the folding of a coupling network's actnorms (kernels/actnorm_fold.h) on a GPU.
#pragma once

#include "kernels/actnorm_fold.h"
#include "kernels/block.cuh"
#include "kernels/math.h"
#include "kernels/taps.h"

namespace glow::inline GLOW_REAL {

// One element of row o.
struct UnfoldElement {
    real dfolded, W, dW;
    // s: the row's scale.
    GLOW_HD real gradient(real s) const { return dW + s * dfolded; }
    // Its term of the sum in dlogs.
    GLOW_HD double logs_part() const { return static_cast<double>(dfolded) * W; }
};
GLOW_HD inline UnfoldElement unfold_element(const ActnormUnfolding& u, index_t o, index_t k) {
    return {u.dfolded[o * u.stride + k], u.W[o * u.K + k], u.dW[o * u.K + k]};
}
GLOW_HD inline double folded_bias_gradient(const ActnormUnfolding& u, index_t o) {
    return u.dfolded_bias != nullptr ? u.dfolded_bias[o] : u.dfolded[o * u.stride + u.K];
}
// sum: of the row's elements and of folded_bias_gradient(o) * bias[o].
GLOW_HD inline void finish_row(const ActnormUnfolding& u, index_t o, double s, double sum) {
    u.dbias[o] += static_cast<real>(s * folded_bias_gradient(u, o));
    u.dlogs[o] += static_cast<real>(kLogsFactor * s * sum);
}

// Start of the row of a tap and an output.
struct TapRows {
    index_t of_tap, of_output;
    GLOW_HD TapRows(TapOrder order, index_t C, index_t w)
        : of_tap(order == TapOrder::taps_first ? C * w : w),
          of_output(order == TapOrder::taps_first ? w : 9 * w) {}
    GLOW_HD index_t operator()(index_t tap, index_t c) const { return tap * of_tap + c * of_output; }
};

// Unfolds the gradients of a whole network, one row per block: the rows of both convolutions with actnorm,
// each with its sum; the rows of the last convolution's weight, which are only added; and the last
// convolution's sums over images.
struct UnfoldNetwork {
    static constexpr const char* name = "unfold_network";
    static constexpr int kThreads = 128, kBlocks = 8, kPhases = 3;
    static constexpr int kAhead = 4;  // loads in flight
    struct Locals {};
    ActnormUnfolding conv1, conv2;
    OutputUnfolding conv3;
    index_t weight_rows, sum_rows;

    explicit UnfoldNetwork(const NetworkUnfolding& network)
        : conv1(network.conv1),
          conv2(network.conv2),
          conv3(network.conv3),
          weight_rows(conv3.dpacked != nullptr ? 9 * conv3.C : 0),
          sum_rows(conv3.sums != nullptr ? output_sums(conv3.edge) * conv3.C : 0) {}
    BlockGrid grid() const {
        return {conv1.out + conv2.out + weight_rows + sum_rows, 1,
                kThreads * static_cast<index_t>(sizeof(double))};
    }

    // Weights and their gradients in, gradients out; rows of the last weight and sums over images.
    double bytes() const {
        const auto elements =
            static_cast<double>(4 * (conv1.out * conv1.K + conv2.out * conv2.K) + 3 * weight_rows * conv3.w);
        return elements * sizeof(real) + static_cast<double>(sum_rows * conv3.N) * sizeof(double);
    }
    // shared: the threads' sums [kThreads].
    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals&) const {
        static_cast<double*>(at.shared)[at.thread] = add_elements(at.x, at.thread);
    }
    GLOW_HD void run(Phase<1>, const BlockThread& at, Locals&) const {
        start_thread_sum<kThreads>(at.thread, static_cast<double*>(at.shared));
    }
    GLOW_HD void run(Phase<2>, const BlockThread& at, Locals&) const {
        if (at.thread == 0) finish(at.x, finish_thread_sum(static_cast<const double*>(at.shared)));
    }

  private:
    // A thread's elements of a row; returns their part of its sum.
    GLOW_HD double add_elements(index_t row, int thread) const {
        if (row < conv1.out) return unfold(conv1, row, thread);
        row -= conv1.out;
        if (row < conv2.out) return unfold(conv2, row, thread);
        row -= conv2.out;
        double sum = 0;
        if (row < weight_rows) {
            const index_t c = row / 9, depth = conv3.w + (conv3.edge ? 1 : 0);
            const real* const from = conv3.dpacked + TapRows(conv3.order, conv3.C, conv3.w)(row - 9 * c, c);
            real* const to = conv3.dW + row * depth;
            copy_items<kThreads, kAhead>(
                thread, static_cast<int>(conv3.w), [&](int i) { return to[i] + from[i]; },
                [&](int i, real value) { to[i] = value; });
        } else {
            const double* const from = conv3.sums + (row - weight_rows) * conv3.N;
            copy_items<kThreads, kAhead>(
                thread, static_cast<int>(conv3.N), [&](int n) { return from[n]; },
                [&](int, double value) { sum += value; });
        }
        return sum;
    }
    GLOW_HD static double unfold(const ActnormUnfolding& u, index_t o, int thread) {
        const real s = static_cast<real>(scale_of(u.logs[o]));
        double sum = 0;
        copy_items<kThreads, kAhead>(
            thread, static_cast<int>(u.K), [&](int k) { return unfold_element(u, o, k); },
            [&](int k, const UnfoldElement& element) {
                u.dW[o * u.K + k] = element.gradient(s);
                sum += element.logs_part();
            });
        return sum;
    }

    GLOW_HD void finish(index_t row, double sum) const {
        if (row < conv1.out) return finish_actnorm(conv1, row, sum);
        row -= conv1.out;
        if (row < conv2.out) return finish_actnorm(conv2, row, sum);
        row -= conv2.out + weight_rows;
        if (row < 0) return;
        const index_t kind = row / conv3.C, c = row - kind * conv3.C;
        if (kind == kBiasSum)
            conv3.dbias[c] += static_cast<real>(sum);
        else if (kind == kLogsSum)
            conv3.dlogs[c] += static_cast<real>(kLogsFactor * sum);
        else
            conv3.dW[(c * 9 + kind - kFirstEdgeSum) * (conv3.w + 1) + conv3.w] += static_cast<real>(sum);
    }
    GLOW_HD static void finish_actnorm(const ActnormUnfolding& u, index_t o, double sum) {
        finish_row(u, o, scale_of(u.logs[o]), sum + folded_bias_gradient(u, o) * u.bias[o]);
    }
};

}  // namespace glow::inline GLOW_REAL

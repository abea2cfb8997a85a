#include "kernels/actnorm_fold.h"
#include "kernels/block.cuh"
#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/pack.cuh"
#include "kernels/taps.h"

namespace glow::inline GLOW_REAL {
namespace {

// Destination of one row of folded weights: to[k] = s from[k] for k < K, then c, then zeros.
template <class Map>
struct FoldedRow {
    index_t length, K;
    double s, c;
    const real* from;
    Map* to;
    real* bias = nullptr;         // <- c
    Map* rounded_bias = nullptr;  // <- c
    double* scale = nullptr;      // <- scale3
    double scale3 = 0;
    static constexpr index_t kSize = Pack<Map>::kSize;
    GLOW_HD Map value(index_t k) const { return round_to<Map>(k < K ? s * from[k] : k == K ? c : 0.0); }
    GLOW_HD void operator()(index_t k) const { to[k] = value(k); }
    GLOW_HD index_t packs() const {
        return reinterpret_cast<std::uintptr_t>(to) % sizeof(Pack<Map>) == 0 ? length / kSize : 0;
    }
    GLOW_HD void pack(index_t i) const {
        Pack<Map> packed;
        for (index_t e = 0; e < kSize; ++e) packed.value[e] = value(i * kSize + e);
        store_pack(packed, to + i * kSize);
    }
    GLOW_HD void finish() const {
        if (bias != nullptr) *bias = static_cast<real>(c);
        if (rounded_bias != nullptr) *rounded_bias = round_to<Map>(static_cast<real>(c));
        if (scale != nullptr) *scale = scale3;
    }
};

// Row o of diag(s) W; s bias follows if the stride leaves room.
template <class Map>
GLOW_HD FoldedRow<Map> folded_row(index_t o, index_t K, index_t stride, const real* W, const real* bias,
                                  const real* logs, Map* folded) {
    const double s = scale_of(logs[o]);
    return {stride, K, s, s * bias[o], W + o * K, folded + o * stride};
}

struct FoldActnorm {
    static constexpr const char* name = "fold_actnorm";
    index_t out, K, stride;
    const real* W;
    const real* bias;
    const real* logs;
    real* folded;
    int groups() const { return 1; }
    GLOW_HD index_t items(int) const { return 1; }
    GLOW_HD index_t rows(int) const { return out; }
    GLOW_HD FoldedRow<real> row(int, index_t, index_t o) const {
        return folded_row<real>(o, K, stride, W, bias, logs, folded);
    }
};

// Backward of fold_actnorm(). CPU and GPU differ in how a row is summed.

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

struct UnfoldOnCpu {
    static constexpr const char* name = "unfold_actnorm";
    ActnormUnfolding u;
    GLOW_HD void operator()(index_t o) const {
        const index_t K = u.K;
        const double s = scale_of(u.logs[o]);
        const real scale = static_cast<real>(s);
        const auto unfold = [&](index_t k) {
            const UnfoldElement element = unfold_element(u, o, k);
            u.dW[o * K + k] = element.gradient(scale);
            return element.logs_part();
        };
        // Four running sums: one would make the loop wait for each addition.
        double sum[4] = {folded_bias_gradient(u, o) * u.bias[o], 0, 0, 0};
        index_t k = 0;
        for (; k + 4 <= K; k += 4)
            for (index_t j = 0; j < 4; ++j) sum[j] += unfold(k + j);
        for (; k < K; ++k) sum[0] += unfold(k);
        finish_row(u, o, s, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
};

// Start of the row of a tap and an output.
struct TapRows {
    index_t of_tap, of_output;
    GLOW_HD TapRows(TapOrder order, index_t C, index_t w)
        : of_tap(order == TapOrder::taps_first ? C * w : w),
          of_output(order == TapOrder::taps_first ? w : 9 * w) {}
    GLOW_HD index_t operator()(index_t tap, index_t c) const { return tap * of_tap + c * of_output; }
};

// Folds all networks of all levels, row by row: the first two convolutions and the last.
template <class Map>
struct FoldNetworks {
    static constexpr const char* name = "fold_networks";
    std::size_t count;
    NetworkFolding<Map> level[kMaxFoldings];

    int groups() const { return static_cast<int>(count); }
    GLOW_HD index_t items(int l) const { return level[l].networks; }
    GLOW_HD index_t rows(int l) const { return 2 * level[l].w + level[l].rows3; }

    GLOW_HD FoldedRow<Map> row(int l, index_t network, index_t row) const {
        const NetworkFolding<Map>& f = level[l];
        const index_t at = network * f.step;
        if (row < f.w)
            return folded_row<Map>(row, f.K, f.stride, f.W1 + at, f.bias1 + at, f.logs1 + at,
                                   f.conv1 + network * f.w * f.stride);
        row -= f.w;
        if (row < f.w) {
            FoldedRow<Map> folded = folded_row<Map>(row, f.w, f.w, f.W2 + at, f.bias2 + at, f.logs2 + at,
                                                    f.conv2 + network * f.w * f.w);
            const index_t bias_at = network * f.bias_step + row;
            folded.bias = f.bias2_folded + bias_at;
            if (f.bias2_rounded != nullptr) folded.rounded_bias = f.bias2_rounded + bias_at;
            return folded;
        }
        row -= f.w;
        Map* const matrix = f.conv3 + network * f.rows3 * f.w;
        if (row >= 9 * f.C) return {f.w, 0, 0.0, 0.0, nullptr, matrix + row * f.w};
        const index_t c = row / 9, tap = row - 9 * c;
        FoldedRow<Map> folded{f.w,
                              f.w,
                              1.0,
                              0.0,
                              f.W3 + at + row * (f.w + (f.edge ? 1 : 0)),
                              matrix + TapRows(f.order, f.C, f.w)(tap, c)};
        if (tap == 0) {
            folded.scale = f.scale3 + network * f.C + c;
            folded.scale3 = scale_of(f.logs3[at + c]);
        }
        return folded;
    }
};
static_assert(sizeof(FoldNetworks<real>) + sizeof(index_t) <= 4096, "a kernel's arguments");

struct UnpackTaps {
    static constexpr const char* name = "unpack_taps";
    TapRows rows;
    index_t depth;
    const real* dpacked;
    real* dW;
    GLOW_HD void operator()(index_t tap, index_t c, index_t i) const {
        dW[(c * 9 + tap) * depth + i] += dpacked[rows(tap, c) + i];
    }
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

    index_t rows() const { return conv1.out + conv2.out + weight_rows + sum_rows; }

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

}  // namespace

void fold_actnorm(const Exec& exec, index_t out, index_t K, index_t stride, const real* W, const real* bias,
                  const real* logs, real* folded) {
    for_each_row(exec, FoldActnorm{out, K, stride, W, bias, logs, folded});
}

void unfold_actnorm(const Exec& exec, const ActnormUnfolding& unfolding) {
    if (exec.tuned_for_gpu())
        unfold_network(exec, unfolding, {}, {});
    else
        for_each(exec, unfolding.out, UnfoldOnCpu{unfolding}, unfolding.stride);
}

void unfold_network(const Exec& exec, const ActnormUnfolding& conv1, const ActnormUnfolding& conv2,
                    const OutputUnfolding& conv3) {
    if (exec.tuned_for_gpu()) {
        const index_t weight_rows = conv3.dpacked != nullptr ? 9 * conv3.C : 0;
        const index_t sum_rows = conv3.sums != nullptr ? output_sums(conv3.edge) * conv3.C : 0;
        const UnfoldNetwork kernel{conv1, conv2, conv3, weight_rows, sum_rows};
        run_blocks(exec, {kernel.rows(), 1, UnfoldNetwork::kThreads * static_cast<index_t>(sizeof(double))},
                   kernel);
        return;
    }
    unfold_actnorm(exec, conv1);
    unfold_actnorm(exec, conv2);
    if (conv3.dpacked != nullptr)
        for_each_group(exec, 9, conv3.C, conv3.w,
                       UnpackTaps{TapRows(conv3.order, conv3.C, conv3.w), conv3.w + (conv3.edge ? 1 : 0),
                                  conv3.dpacked, conv3.dW});
}

template <class Map>
void fold_networks(const Exec& exec, std::span<const NetworkFolding<Map>> levels) {
    if (levels.size() > kMaxFoldings) throw Error("fold_networks: too many levels");
    FoldNetworks<Map> fold{levels.size(), {}};
    std::copy(levels.begin(), levels.end(), fold.level);
    for_each_row(exec, fold);
}

template void fold_networks<real>(const Exec&, std::span<const NetworkFolding<real>>);
#if !defined(GLOW_REAL_DOUBLE)
template void fold_networks<bfloat16>(const Exec&, std::span<const NetworkFolding<bfloat16>>);
#endif

}  // namespace glow::inline GLOW_REAL

#include "kernels/actnorm_fold.h"
#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/network_unfolding.cuh"
#include "kernels/pack.cuh"

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

// Backward of fold_actnorm() on a CPU; a GPU's sums are in another order (kernels/network_unfolding.cuh).
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

}  // namespace

void fold_actnorm(const Exec& exec, index_t out, index_t K, index_t stride, const real* W, const real* bias,
                  const real* logs, real* folded) {
    for_each_row(exec, FoldActnorm{out, K, stride, W, bias, logs, folded});
}

void unfold_actnorm(const Exec& exec, const ActnormUnfolding& unfolding) {
    if (exec.tuned_for_gpu())
        unfold_network(exec, {.conv1 = unfolding});
    else
        for_each(exec, unfolding.out, UnfoldOnCpu{unfolding}, unfolding.stride);
}

void unfold_network(const Exec& exec, const NetworkUnfolding& network) {
    if (exec.tuned_for_gpu()) {
        const UnfoldNetwork kernel(network);
        return run_blocks(exec, kernel.grid(), kernel);
    }
    unfold_actnorm(exec, network.conv1);
    unfold_actnorm(exec, network.conv2);
    const OutputUnfolding& conv3 = network.conv3;
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

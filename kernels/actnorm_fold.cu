#include "kernels/actnorm_fold.h"
#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/pack.cuh"
#include "kernels/reduce.cuh"

namespace glow::inline GLOW_REAL {
namespace {

// Destination of one row of folded weights: to[k] = s from[k] for k < K, then c, then zeros.
template <class Map>
struct FoldedRow {
    index_t length, K;
    double s, c;
    const real* from;
    Map* to;
    real* bias = nullptr;     // <- c
    double* scale = nullptr;  // <- scale3
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
        if (scale != nullptr) *scale = scale3;
    }
};

template <class Map>
GLOW_HD FoldedRow<Map> folded_row(index_t o, index_t K, index_t stride, const real* W, const real* bias,
                                  const real* logs, Map* folded, real* folded_bias) {
    const double s = scale_of(logs[o]);
    return {stride,
            K,
            s,
            s * bias[o],
            W + o * K,
            folded + o * stride,
            folded_bias != nullptr ? folded_bias + o : nullptr};
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
        return folded_row<real>(o, K, stride, W, bias, logs, folded, nullptr);
    }
};

// Backward of fold_actnorm(). CPU and GPU differ only in which threads sum a row.
struct Unfold {
    index_t K, stride;
    const real* W;
    const real* bias;
    const real* logs;
    const real* dfolded;
    const real* dfolded_bias;
    real* dW;
    real* dbias;
    real* dlogs;

    // One element of row o with scale s; returns its contribution to dlogs.
    GLOW_HD double element(index_t o, index_t k, real s) const {
        const real d = dfolded[o * stride + k];
        dW[o * K + k] += s * d;
        return static_cast<double>(d) * W[o * K + k];
    }
    GLOW_HD double bias_gradient(index_t o) const {
        return dfolded_bias != nullptr ? dfolded_bias[o] : dfolded[o * stride + K];
    }
    // sum: over the row's elements, plus bias_gradient(o) * bias[o].
    GLOW_HD void finish_row(index_t o, double s, double sum) const {
        dbias[o] += static_cast<real>(s * bias_gradient(o));
        dlogs[o] += static_cast<real>(kLogsFactor * s * sum);
    }
};

struct UnfoldOnCpu {
    static constexpr const char* name = "unfold_actnorm";
    Unfold unfold;
    GLOW_HD void operator()(index_t o) const {
        const index_t K = unfold.K;
        const double s = scale_of(unfold.logs[o]);
        const real scale = static_cast<real>(s);
        // Four running sums, so that additions do not wait for each other.
        double sum[4] = {unfold.bias_gradient(o) * unfold.bias[o], 0, 0, 0};
        index_t k = 0;
        for (; k + 4 <= K; k += 4)
            for (index_t j = 0; j < 4; ++j) sum[j] += unfold.element(o, k + j, scale);
        for (; k < K; ++k) sum[0] += unfold.element(o, k, scale);
        unfold.finish_row(o, s, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
};

// One block sums one row.
struct UnfoldOnGpu {
    static constexpr const char* name = "unfold_actnorm_row";
    Unfold unfold;
    GLOW_HD double operator()(index_t o, index_t k) const {
        return unfold.element(o, k, static_cast<real>(scale_of(unfold.logs[o])));
    }
    GLOW_HD void finish(index_t o, double sum) const {
        unfold.finish_row(o, scale_of(unfold.logs[o]), sum + unfold.bias_gradient(o) * unfold.bias[o]);
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
    NetworkFolding<Map> level[kMostFoldings];

    int groups() const { return static_cast<int>(count); }
    GLOW_HD index_t items(int l) const { return level[l].networks; }
    GLOW_HD index_t rows(int l) const { return 2 * level[l].w + level[l].rows3; }

    GLOW_HD FoldedRow<Map> row(int l, index_t network, index_t row) const {
        const NetworkFolding<Map>& f = level[l];
        const index_t at = network * f.step;
        if (row < f.w)
            return folded_row<Map>(row, f.K, f.stride, f.W1 + at, f.bias1 + at, f.logs1 + at,
                                   f.conv1 + network * f.w * f.stride, nullptr);
        row -= f.w;
        if (row < f.w)
            return folded_row<Map>(row, f.w, f.w, f.W2 + at, f.bias2 + at, f.logs2 + at,
                                   f.conv2 + network * f.w * f.w, f.bias2_folded + network * f.bias_step);
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

void unfold_actnorm(const Exec& exec, index_t out, index_t K, index_t stride, const real* W, const real* bias,
                    const real* logs, const real* dfolded, const real* dfolded_bias, real* dW, real* dbias,
                    real* dlogs) {
    const Unfold unfold{K, stride, W, bias, logs, dfolded, dfolded_bias, dW, dbias, dlogs};
    if (exec.tuned_for_gpu())
        sum_rows(exec, out, K, UnfoldOnGpu{unfold});
    else
        for_each(exec, out, UnfoldOnCpu{unfold}, stride);
}

template <class Map>
void fold_networks(const Exec& exec, std::span<const NetworkFolding<Map>> levels) {
    if (levels.size() > kMostFoldings) throw Error("fold_networks: too many levels");
    FoldNetworks<Map> fold{levels.size(), {}};
    std::copy(levels.begin(), levels.end(), fold.level);
    for_each_row(exec, fold);
}

void unpack_taps(const Exec& exec, index_t C, index_t w, bool edge, TapOrder order, const real* dpacked,
                 real* dW) {
    for_each_group(exec, 9, C, w, UnpackTaps{TapRows(order, C, w), w + (edge ? 1 : 0), dpacked, dW});
}

template void fold_networks<real>(const Exec&, std::span<const NetworkFolding<real>>);
#if !defined(GLOW_REAL_DOUBLE)
template void fold_networks<bfloat16>(const Exec&, std::span<const NetworkFolding<bfloat16>>);
#endif

}  // namespace glow::inline GLOW_REAL

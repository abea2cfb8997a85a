// Folding, masks and moments.
#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/network.h"
#include "kernels/pack.cuh"
#include "kernels/reduce.cuh"

namespace glow::inline GLOW_REAL {
namespace {

// A row of folded weights: to[k] = s from[k] for k < K, then c, then zeros; and what goes with it.
template <class Map>
struct FoldedRow {
    index_t length, K;
    double s, c;
    const real* from;
    Map* to;
    real* bias = nullptr;     // <- c
    double* scale = nullptr;  // <- scale3
    double scale3 = 0;
    GLOW_HD void operator()(index_t k) const {
        to[k] = round_to<Map>(k < K ? s * from[k] : k == K ? c : 0.0);
    }
    GLOW_HD void finish() const {
        if (bias != nullptr) *bias = static_cast<real>(c);
        if (scale != nullptr) *scale = scale3;
    }
};

template <class Map>
GLOW_HD FoldedRow<Map> folded_row(index_t o, index_t K, index_t stride, const real* W, const real* bias,
                                  const real* logs, Map* folded, real* folded_bias) {
    const double s = exp_of(3.0 * logs[o]);
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

struct Unfold {
    static constexpr const char* name = "unfold_actnorm";
    index_t K, stride;
    const real* W;
    const real* bias;
    const real* logs;
    const real* dfolded;
    const real* dfolded_bias;
    real* dW;
    real* dbias;
    real* dlogs;
    GLOW_HD void operator()(index_t o) const {
        const double s = exp_of(3.0 * logs[o]);
        const real scale = static_cast<real>(s);
        const double dc = dfolded_bias != nullptr ? dfolded_bias[o] : dfolded[o * stride + K];
        // Four running sums: one would make the loop wait for each addition.
        double sum[4] = {dc * bias[o], 0, 0, 0};
        index_t k = 0;
        for (; k + 4 <= K; k += 4)
            for (index_t j = 0; j < 4; ++j) {
                const real d = dfolded[o * stride + k + j];
                sum[j] += static_cast<double>(d) * W[o * K + k + j];
                dW[o * K + k + j] += scale * d;
            }
        for (; k < K; ++k) {
            const real d = dfolded[o * stride + k];
            sum[0] += static_cast<double>(d) * W[o * K + k];
            dW[o * K + k] += scale * d;
        }
        dbias[o] += static_cast<real>(s * dc);
        dlogs[o] += static_cast<real>(3.0 * s * ((sum[0] + sum[1]) + (sum[2] + sum[3])));
    }
};

// The same for the GPU: a block sums a row.
struct UnfoldRow {
    static constexpr const char* name = "unfold_actnorm_row";
    index_t K, stride;
    const real* W;
    const real* bias;
    const real* logs;
    const real* dfolded;
    const real* dfolded_bias;
    real* dW;
    real* dbias;
    real* dlogs;
    GLOW_HD double operator()(index_t o, index_t k) const {
        const real d = dfolded[o * stride + k];
        dW[o * K + k] += static_cast<real>(exp_of(3.0 * logs[o])) * d;
        return static_cast<double>(d) * W[o * K + k];
    }
    GLOW_HD void finish(index_t o, double sum) const {
        const double s = exp_of(3.0 * logs[o]);
        const double dc = dfolded_bias != nullptr ? dfolded_bias[o] : dfolded[o * stride + K];
        dbias[o] += static_cast<real>(s * dc);
        dlogs[o] += static_cast<real>(3.0 * s * (sum + dc * bias[o]));
    }
};

// Where the row of a tap and an output begins.
struct TapRows {
    index_t of_tap, of_output;
    GLOW_HD TapRows(TapOrder order, index_t C, index_t w)
        : of_tap(order == TapOrder::taps_first ? C * w : w),
          of_output(order == TapOrder::taps_first ? w : 9 * w) {}
    GLOW_HD index_t operator()(index_t tap, index_t c) const { return tap * of_tap + c * of_output; }
};

// All foldings of all levels' networks, row by row: those of the first two convolutions and of the last.
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
            folded.scale3 = exp_of(3.0 * f.logs3[at + c]);
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

template <class Map>
struct ReluBackward {
    static constexpr const char* name = "relu_backward";
    const Map* map;
    Map* dmap;
    GLOW_HD void operator()(index_t i) const { dmap[i] = keep_where(to_float(map[i]) > 0, dmap[i]); }
};

template <class Map>
struct ReluBackwardSum {
    static constexpr const char* name = "relu_backward_sum";
    static constexpr int kSums = 1;
    using Sum = real;
    index_t C;
    const Map* map;
    Map* dmap;
    GLOW_HD void operator()(index_t row, index_t c, real* sum) const {
        const index_t i = row * C + c;
        const Map d = keep_where(to_float(map[i]) > 0, dmap[i]);
        dmap[i] = d;
        sum[0] += to_float(d);
    }
};
// Both again, 16 bytes at a time. A pack is a column with as many sums as it has elements.
template <class Map>
struct ReluBackwardPack {
    static constexpr const char* name = "relu_backward_pack";
    const Map* map;
    Map* dmap;
    GLOW_HD void operator()(index_t i) const {
        const Pack<Map> y = load_pack(map + i * Pack<Map>::kSize);
        Pack<Map> d = load_pack(dmap + i * Pack<Map>::kSize);
        for (index_t j = 0; j < Pack<Map>::kSize; ++j)
            if (!(to_float(y.value[j]) > 0)) d.value[j] = Map{};
        store_pack(d, dmap + i * Pack<Map>::kSize);
    }
};
template <class Map>
struct ReluBackwardSumPack {
    static constexpr const char* name = "relu_backward_sum_pack";
    static constexpr int kSums = Pack<Map>::kSize;
    using Sum = real;
    index_t C;
    const Map* map;
    Map* dmap;
    GLOW_HD void operator()(index_t row, index_t pack, real* sum) const {
        const index_t i = row * C + pack * kSums;
        const Pack<Map> y = load_pack(map + i);
        Pack<Map> d = load_pack(dmap + i);
        for (int j = 0; j < kSums; ++j) {
            if (!(to_float(y.value[j]) > 0)) d.value[j] = Map{};
            sum[j] += static_cast<real>(to_float(d.value[j]));
        }
        store_pack(d, dmap + i);
    }
};
template <int kSize>
struct AddSumPack {
    real* sums;
    GLOW_HD void operator()(index_t pack, const double* sum) const {
        for (int j = 0; j < kSize; ++j) sums[pack * kSize + j] += static_cast<real>(sum[j]);
    }
};

struct AddSum {
    real* sums;
    GLOW_HD void operator()(index_t c, const double* sum) const { sums[c] += static_cast<real>(sum[0]); }
};

template <class T>
struct Moments {
    static constexpr const char* name = "moments";
    static constexpr int kSums = 2;
    using Sum = double;
    const T* x;
    index_t stride;
    GLOW_HD void operator()(index_t row, index_t c, double* sum) const {
        const double value = x[row * stride + c];
        sum[0] += value;
        sum[1] += value * value;
    }
};
struct AddMoments {
    index_t C;
    double* moments;
    GLOW_HD void operator()(index_t c, const double* sum) const {
        moments[c] += sum[0];
        moments[C + c] += sum[1];
    }
};

struct FromMoments {
    static constexpr const char* name = "actnorm_from_moments";
    double count;
    index_t C;
    const double* moments;
    real* bias;
    real* logs;
    GLOW_HD void operator()(index_t c) const {
        const double mean = moments[c] / count;
        const double b = static_cast<real>(-mean);  // the deviation is taken about the bias as it is stored
        const double square = moments[C + c] / count + 2.0 * b * mean + b * b;
        const double s = sqrt_of(square > 0.0 ? square : 0.0);
        bias[c] = static_cast<real>(b);
        logs[c] = static_cast<real>(-log_of(s + 1e-6) / 3.0);
    }
};

template <class T>
struct Fill {
    static constexpr const char* name = "fill";
    T value;
    T* values;
    GLOW_HD void operator()(index_t i) const { values[i] = value; }
};
template <class T>
struct Copy {
    static constexpr const char* name = "copy";
    const T* from;
    T* to;
    GLOW_HD void operator()(index_t i) const { to[i] = from[i]; }
};

}  // namespace

void fold_actnorm(const Place& place, index_t out, index_t K, index_t stride, const real* W, const real* bias,
                  const real* logs, real* folded) {
    for_each_row(place, FoldActnorm{out, K, stride, W, bias, logs, folded});
}

void unfold_actnorm(const Place& place, index_t out, index_t K, index_t stride, const real* W,
                    const real* bias, const real* logs, const real* dfolded, const real* dfolded_bias,
                    real* dW, real* dbias, real* dlogs) {
    if (place.tuned_for_gpu())
        sum_rows(place, out, K, UnfoldRow{K, stride, W, bias, logs, dfolded, dfolded_bias, dW, dbias, dlogs});
    else
        for_each(place, out, Unfold{K, stride, W, bias, logs, dfolded, dfolded_bias, dW, dbias, dlogs},
                 stride);
}

template <class Map>
void fold_networks(const Place& place, std::span<const NetworkFolding<Map>> levels) {
    if (levels.size() > kMostFoldings) throw Error("fold_networks: too many levels");
    FoldNetworks<Map> fold{levels.size(), {}};
    std::copy(levels.begin(), levels.end(), fold.level);
    for_each_row(place, fold);
}

void unpack_taps(const Place& place, index_t C, index_t w, bool edge, TapOrder order, const real* dpacked,
                 real* dW) {
    for_each_group(place, 9, C, w, UnpackTaps{TapRows(order, C, w), w + (edge ? 1 : 0), dpacked, dW});
}

template <class Map>
void relu_backward(const Place& place, index_t rows, index_t C, const Map* map, Map* dmap, real* sums,
                   double* partial) {
    constexpr index_t kPack = Pack<Map>::kSize;
    if (packs_fit(place, C, map, dmap)) {
        if (sums != nullptr)
            sum_columns(place, rows, C / kPack, partial, ReluBackwardSumPack<Map>{C, map, dmap},
                        AddSumPack<kPack>{sums});
        else
            for_each(place, rows * C / kPack, ReluBackwardPack<Map>{map, dmap});
    } else if (sums != nullptr)
        sum_columns(place, rows, C, partial, ReluBackwardSum<Map>{C, map, dmap}, AddSum{sums});
    else
        for_each(place, rows * C, ReluBackward<Map>{map, dmap});
}

template <class T>
void add_moments(const Place& place, index_t rows, index_t C, const T* x, index_t stride, double* moments,
                 double* partial) {
    sum_columns(place, rows, C, partial, Moments<T>{x, stride}, AddMoments{C, moments});
}

void actnorm_from_moments(const Place& place, double count, index_t C, const double* moments, real* bias,
                          real* logs) {
    for_each(place, C, FromMoments{count, C, moments, bias, logs});
}

template <class T>
void fill(const Place& place, index_t count, T value, T* values) {
    for_each(place, count, Fill<T>{value, values});
}
template <class T>
void copy(const Place& place, index_t count, const T* from, T* to) {
    for_each(place, count, Copy<T>{from, to});
}

#define GLOW_INSTANTIATE_MAP(Map)                                                         \
    template void fold_networks<Map>(const Place&, std::span<const NetworkFolding<Map>>); \
    template void relu_backward<Map>(const Place&, index_t, index_t, const Map*, Map*, real*, double*);
#define GLOW_INSTANTIATE(T)                                                                            \
    template void add_moments<T>(const Place&, index_t, index_t, const T*, index_t, double*, double*); \
    template void fill<T>(const Place&, index_t, T, T*);                                               \
    template void copy<T>(const Place&, index_t, const T*, T*);
GLOW_INSTANTIATE_MAP(real)
GLOW_INSTANTIATE(double)
#if !defined(GLOW_REAL_DOUBLE)
GLOW_INSTANTIATE_MAP(bfloat16)
GLOW_INSTANTIATE(float)
template void fill<bfloat16>(const Place&, index_t, bfloat16, bfloat16*);
#endif
#undef GLOW_INSTANTIATE
#undef GLOW_INSTANTIATE_MAP

}  // namespace glow::inline GLOW_REAL

// im2col, col2im and the zero-initialized convolution's pointwise part.
#include <type_traits>

#include "kernels/convolution.h"
#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/pack.cuh"
#include "kernels/reduce.cuh"
#include "kernels/stencil.cuh"

namespace glow::inline GLOW_REAL {
namespace {

// Taps of pixel (y, x) that lie in the image; sign -1 for the mirrored taps.
GLOW_HD inline unsigned image_taps(index_t H, index_t W, index_t sign, index_t y, index_t x) {
    unsigned taps = 0;
    for (index_t kh = 0; kh < 3; ++kh)
        for (index_t kw = 0; kw < 3; ++kw) {
            const index_t sy = y + sign * (kh - 1), sx = x + sign * (kw - 1);
            if (sy >= 0 && sy < H && sx >= 0 && sx < W) taps |= 1u << (kh * 3 + kw);
        }
    return taps;
}

template <class S, class Map>
struct Im2col {
    static constexpr const char* name = "im2col";
    ImageRows rows;
    index_t C, per_tap, stride, sign;
    const S* source;
    index_t source_stride;
    Map* columns;
    GLOW_HD unsigned taps(index_t, index_t y, index_t x) const {
        return image_taps(rows.H, rows.W, sign, y, x);
    }
    GLOW_HD void operator()(index_t q, index_t x, index_t c, unsigned taps) const {
        Map* const row = columns + ((q - rows.begin) * rows.W + x) * stride + c;
        const S* const center = source + (q * rows.W + x) * source_stride + c;
        for (index_t kh = 0; kh < 3; ++kh)
            for (index_t kw = 0; kw < 3; ++kw) {
                const bool inside = taps >> (kh * 3 + kw) & 1;
                row[(kh * 3 + kw) * per_tap] =
                    inside ? value(center[sign * ((kh - 1) * rows.W + kw - 1) * source_stride]) : Map{};
            }
    }
    // A state is rounded as a network sees it, a gradient to the networks' type.
    GLOW_HD static Map value(S x) {
        if constexpr (std::is_same_v<S, state_t>)
            return round_state<Map>(x);
        else
            return round_to<Map>(static_cast<double>(x));
    }
};

// The edge channel: 1 where a tap leaves the image.
template <class Map>
struct EdgeColumns {
    static constexpr const char* name = "im2col_edge";
    ImageRows rows;
    index_t C, stride, sign;
    Map* columns;
    GLOW_HD unsigned taps(index_t, index_t y, index_t x) const {
        return image_taps(rows.H, rows.W, sign, y, x);
    }
    GLOW_HD void operator()(index_t q, index_t x, index_t tap, unsigned taps) const {
        columns[((q - rows.begin) * rows.W + x) * stride + tap * (C + 1) + C] =
            round_to<Map>(taps >> tap & 1 ? 0.0 : 1.0);
    }
};

// The columns after the taps: the constant 1, then zeros.
template <class Map>
struct Padding {
    static constexpr const char* name = "im2col_padding";
    index_t first, stride;
    bool one;
    Map* columns;
    GLOW_HD void operator()(index_t row, index_t j) const {
        columns[row * stride + first + j] = round_to<Map>(one && j == 0 ? 1.0 : 0.0);
    }
};

// All of them for the GPU, 16 bytes of a row of columns at a time.
template <class S, class Map>
struct Im2colPack {
    static constexpr const char* name = "im2col_pack";
    static constexpr int kSize = static_cast<int>(Pack<Map>::kSize);
    static constexpr int kEdge = 9, kOne = 18, kZero = 19;
    ImageRows rows;
    index_t C, per_tap, stride, sign;
    bool one;
    const S* source;
    index_t source_stride;
    Map* columns_out;

    // Where the columns of a pack come from: taps 0..8 of the source at `offset` from the pixel, kEdge + tap,
    // 1 or 0.
    struct Origin {
        int kind[kSize];
        int offset[kSize];
    };
    GLOW_HD Origin columns(index_t pack) const {
        Origin origin;
        for (int e = 0; e < kSize; ++e) {
            const index_t column = pack * kSize + e, tap = column / per_tap, c = column - tap * per_tap;
            const index_t kh = tap / 3, kw = tap - 3 * kh;
            const bool source_column = tap < 9 && c < C;
            origin.kind[e] = static_cast<int>(source_column                  ? tap
                                              : tap < 9                      ? kEdge + tap
                                              : one && column == 9 * per_tap ? kOne
                                                                             : kZero);
            origin.offset[e] =
                source_column ? static_cast<int>(sign * ((kh - 1) * rows.W + kw - 1) * source_stride + c) : 0;
        }
        return origin;
    }
    GLOW_HD unsigned taps(index_t, index_t y, index_t x) const {
        return image_taps(rows.H, rows.W, sign, y, x);
    }
    GLOW_HD void operator()(index_t q, index_t x, index_t pack, unsigned taps, const Origin& origin) const {
        const S* const pixel = source + (q * rows.W + x) * source_stride;
        Pack<Map> packed;
        for (int e = 0; e < kSize; ++e) {
            const int kind = origin.kind[e];
            if (kind < kEdge)
                packed.value[e] = taps >> kind & 1 ? Im2col<S, Map>::value(pixel[origin.offset[e]]) : Map{};
            else
                packed.value[e] =
                    round_to<Map>(kind == kOne || (kind < kOne && !(taps >> (kind - kEdge) & 1)) ? 1.0 : 0.0);
        }
        store_pack(packed, columns_out + ((q - rows.begin) * rows.W + x) * stride + pack * kSize);
    }
};

struct Col2im {
    static constexpr const char* name = "col2im";
    ImageRows rows;
    index_t per_tap, stride, sign;
    const real* columns;
    real* target;
    index_t target_stride;
    GLOW_HD unsigned taps(index_t q, index_t y, index_t x) const {
        unsigned taps = image_taps(rows.H, rows.W, sign, y, x);
        if (q - sign < rows.begin || q - sign >= rows.end) taps &= ~0x007u;  // kh = 0 is row q - sign
        if (q < rows.begin || q >= rows.end) taps &= ~0x038u;
        if (q + sign < rows.begin || q + sign >= rows.end) taps &= ~0x1c0u;
        return taps;
    }
    GLOW_HD void operator()(index_t q, index_t x, index_t c, unsigned taps) const {
        const real* const center = columns + ((q - rows.begin) * rows.W + x) * stride + c;
        real sum = target[(q * rows.W + x) * target_stride + c];
        for (index_t kh = 0; kh < 3; ++kh)
            for (index_t kw = 0; kw < 3; ++kw)
                if (taps >> (kh * 3 + kw) & 1)
                    sum += center[sign * ((kh - 1) * rows.W + kw - 1) * stride + (kh * 3 + kw) * per_tap];
        target[(q * rows.W + x) * target_stride + c] = sum;
    }
};

struct ExpScale {
    static constexpr const char* name = "exp_scale";
    const real* logs;
    double* scale;
    GLOW_HD void operator()(index_t c) const { scale[c] = scale_of(logs[c]); }
};

struct Finish {
    static constexpr const char* name = "zero_convolution_finish";
    ImageRows rows;
    index_t C;
    const real* edge_weight;
    index_t edge_stride;
    const real* bias;
    const double* scale;
    real* out;
    GLOW_HD unsigned taps(index_t, index_t y, index_t x) const {
        return edge_weight != nullptr ? image_taps(rows.H, rows.W, 1, y, x) : kAllTaps;
    }
    GLOW_HD void operator()(index_t q, index_t x, index_t c, unsigned taps) const {
        real& value = out[((q - rows.begin) * rows.W + x) * C + c];
        double sum = static_cast<double>(value) + bias[c];
        for (index_t tap = 0; tap < 9; ++tap)
            if (!(taps >> tap & 1)) sum += edge_weight[(c * 9 + tap) * edge_stride];
        value = static_cast<real>(sum * scale[c]);
    }
};

struct FinishBackward {
    static constexpr const char* name = "zero_convolution_backward";
    static constexpr int kSums = 2;
    using Sum = double;
    index_t C;
    const double* scale;
    const real* out;
    real* dout;
    struct Loaded {
        real out, dout;
    };
    GLOW_HD Loaded load(index_t row, index_t c) const { return {out[row * C + c], dout[row * C + c]}; }
    GLOW_HD void operator()(index_t row, index_t c, const Loaded& at, double* sum) const {
        const double d = at.dout;
        const double dpre = d * scale[c];
        sum[0] += dpre;
        sum[1] += d * at.out;
        dout[row * C + c] = static_cast<real>(dpre);
    }
};
struct StoreFinish {
    real* dbias;
    real* dlogs;
    GLOW_HD void operator()(index_t c, const double* sum) const {
        if (dbias != nullptr) dbias[c] += static_cast<real>(sum[0]);
        dlogs[c] += static_cast<real>(kLogsFactor * sum[1]);
    }
};

// sum[tap] += d for the taps of border pixel (y, x) that leave the image.
GLOW_HD inline void add_edge_taps(index_t H, index_t W, index_t y, index_t x, double d, double* sum) {
    for (index_t kh = 0; kh < 3; ++kh)
        for (index_t kw = 0; kw < 3; ++kw) {
            const bool inside = y + kh >= 1 && y + kh <= H && x + kw >= 1 && x + kw <= W;
            sum[kh * 3 + kw] += inside ? 0.0 : d;
        }
}
// The border pixels of image row y, of W pixels: all of the first and last row, else the two ends.
GLOW_HD inline index_t border_step(index_t H, index_t W, index_t y) {
    return y == 0 || y + 1 == H || W < 2 ? 1 : W - 1;
}

// A "row" of the reduction is an image.
struct EdgeBackward {
    static constexpr const char* name = "edge_weight_backward";
    static constexpr int kSums = 9;
    using Sum = double;
    index_t H, W, C;
    const real* dpre;
    GLOW_HD NothingLoaded load(index_t, index_t) const { return {}; }
    GLOW_HD void operator()(index_t n, index_t c, NothingLoaded, double* sum) const {
        for (index_t y = 0; y < H; ++y)
            for (index_t x = 0, step = border_step(H, W, y); x < W; x += step)
                add_edge_taps(H, W, y, x, dpre[((n * H + y) * W + x) * C + c], sum);
    }
};
// For a GPU: a "row" of the reduction is an image row.
struct EdgeBackwardRow {
    static constexpr const char* name = "edge_weight_backward_row";
    static constexpr int kSums = 9;
    using Sum = double;
    index_t H, W, C;
    const real* dpre;
    GLOW_HD NothingLoaded load(index_t, index_t) const { return {}; }
    GLOW_HD void operator()(index_t q, index_t c, NothingLoaded, double* sum) const {
        const index_t y = q % H;
        for (index_t x = 0, step = border_step(H, W, y); x < W; x += step)
            add_edge_taps(H, W, y, x, dpre[(q * W + x) * C + c], sum);
    }
};
struct StoreEdge {
    real* dedge_weight;
    index_t edge_stride;
    GLOW_HD void operator()(index_t c, const double* sum) const {
        for (index_t tap = 0; tap < 9; ++tap)
            total[tap] = dedge_weight[(c * 9 + tap) * edge_stride] + static_cast<real>(sum[tap]);
        for (index_t tap = 0; tap < 9; ++tap) dedge_weight[(c * 9 + tap) * edge_stride] = total[tap];
    }
};

}  // namespace

template <class S, class Map>
void im2col(const Exec& exec, const ImageRows& rows, const Columns& layout, bool mirror, const S* source,
            index_t source_stride, Map* columns) {
    const index_t sign = mirror ? -1 : 1;
    if (packs_fit(exec, layout.stride, columns)) {
        for_each_stencil_columns(exec, rows.begin, rows.end, rows.H, rows.W,
                                 layout.stride / Pack<Map>::kSize,
                                 Im2colPack<S, Map>{rows, layout.C, layout.per_tap(), layout.stride, sign,
                                                    layout.one, source, source_stride, columns});
        return;
    }
    for_each_stencil(exec, rows.begin, rows.end, rows.H, rows.W, layout.C,
                     Im2col<S, Map>{rows, layout.C, layout.per_tap(), layout.stride, sign, source,
                                    source_stride, columns});
    if (layout.edge)
        for_each_stencil(exec, rows.begin, rows.end, rows.H, rows.W, 9,
                         EdgeColumns<Map>{rows, layout.C, layout.stride, sign, columns});
    const index_t used = 9 * layout.per_tap();
    for_each_row_channel(exec, rows.pixels(), layout.stride - used,
                         Padding<Map>{used, layout.stride, layout.one, columns});
}

void col2im(const Exec& exec, const ImageRows& rows, const Columns& layout, bool mirror,
            const real* columns, real* target, index_t target_stride) {
    // The image rows beside the block receive from it too; those of other images do not (`inside` is false
    // for them).
    const index_t begin = rows.begin % rows.H == 0 ? rows.begin : rows.begin - 1;
    const index_t end = rows.end % rows.H == 0 ? rows.end : rows.end + 1;
    for_each_stencil(
        exec, begin, end, rows.H, rows.W, layout.C,
        Col2im{rows, layout.per_tap(), layout.stride, mirror ? -1 : 1, columns, target, target_stride});
}

void exp_scale(const Exec& exec, index_t C, const real* logs, double* scale) {
    for_each(exec, C, ExpScale{logs, scale});
}

void zero_convolution_finish(const Exec& exec, const ImageRows& rows, index_t C, const real* edge_weight,
                             index_t edge_stride, const real* bias, const double* scale, real* out) {
    for_each_stencil(exec, rows.begin, rows.end, rows.H, rows.W, C,
                     Finish{rows, C, edge_weight, edge_stride, bias, scale, out});
}

void zero_convolution_backward(const Exec& exec, index_t rows, index_t C, const double* scale,
                               const real* out, real* dout, real* dbias, real* dlogs, double* partial) {
    sum_columns(exec, rows, C, partial, FinishBackward{C, scale, out, dout}, StoreFinish{dbias, dlogs});
}

void edge_weight_backward(const Exec& exec, index_t N, index_t H, index_t W, index_t C, const real* dpre,
                          real* dedge_weight, index_t edge_stride, double* partial) {
    if (exec.tuned_for_gpu())
        sum_columns(exec, N * H, C, partial, EdgeBackwardRow{H, W, C, dpre},
                    StoreEdge{dedge_weight, edge_stride});
    else
        sum_columns(exec, N, C, partial, EdgeBackward{H, W, C, dpre}, StoreEdge{dedge_weight, edge_stride},
        real total[9];  // all read before the first is written: the loads overlap
                    2 * (H + W));
}

#define GLOW_INSTANTIATE(S, Map)                                                                          \
    template void im2col<S, Map>(const Exec&, const ImageRows&, const Columns&, bool, const S*, index_t, \
                                 Map*);
GLOW_INSTANTIATE(state_t, real)
#if !defined(GLOW_REAL_DOUBLE)
GLOW_INSTANTIATE(real, real)
GLOW_INSTANTIATE(state_t, bfloat16)
GLOW_INSTANTIATE(real, bfloat16)
#endif
#undef GLOW_INSTANTIATE

}  // namespace glow::inline GLOW_REAL

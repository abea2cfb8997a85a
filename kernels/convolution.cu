#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/convolution.h"
#include "kernels/coupling_math.h"
#include "kernels/for_each.cuh"
#include "kernels/pack.cuh"
#include "kernels/reduce.cuh"
#include "kernels/stencil.cuh"

namespace glow::inline GLOW_REAL {
namespace {

// Column values, shared by both devices: channels (a state rounded as networks read it, a gradient rounded to
// Map), the edge channel, and after the taps the constant 1 and zeros.
template <class Map, class S>
GLOW_HD inline Map channel_value(S x) {
    if constexpr (std::is_same_v<S, state_t>)
        return round_state<Map>(x);
    else
        return round_to<Map>(static_cast<double>(x));
}
template <class Map>
GLOW_HD inline Map edge_value(bool inside) {
    return round_to<Map>(inside ? 0.0 : 1.0);
}
template <class Map>
GLOW_HD inline Map padding_value(bool one, index_t j) {
    return round_to<Map>(one && j == 0 ? 1.0 : 0.0);
}

// The sign of the offsets from a pixel to its taps.
index_t sign_of(Taps taps) {
    return taps == Taps::direct ? 1 : -1;
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
                    inside ? channel_value<Map>(center[sign * ((kh - 1) * rows.W + kw - 1) * source_stride])
                           : Map{};
            }
    }
};

// The edge channel: 1 if the tap is outside the image.
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
            edge_value<Map>(taps >> tap & 1);
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
        columns[row * stride + first + j] = padding_value<Map>(one, j);
    }
};

// Host version: rounds the three lines around an image row once, with a border of one pixel, and copies the
// columns of each pixel from there, the three taps of a line at a time.
template <class S, class Map>
struct Im2colLines {
    static constexpr const char* name = "im2col";
    static constexpr index_t kStaged = 4096;  // elements of the lines, on a thread's stack
    ImageRows rows;
    Columns layout;
    index_t sign;
    const S* source;
    index_t source_stride;
    Map* columns;

    // per_tap: C and the edge channel; both may be constants. Rows wider than the lines are processed in
    // parts.
    template <class Channels, class PerTap>
    void row(index_t q, Channels C, PerTap per_tap) const {
        Map staged[kStaged];  // [3, width + 2, per_tap]
        const index_t most = std::min(rows.W, kStaged / (3 * per_tap) - 2);
        for (index_t x0 = 0; x0 < rows.W; x0 += most) {
            const index_t width = std::min(most, rows.W - x0), line = (width + 2) * per_tap;
            for (index_t kh = 0; kh < 3; ++kh) stage(q, kh, x0, width, C, per_tap, staged + kh * line);
            Map* to = columns + ((q - rows.begin) * rows.W + x0) * layout.stride;
            for (index_t x = 0; x < width; ++x, to += layout.stride) {
                const Map* const from = staged + (sign > 0 ? x : width - 1 - x) * per_tap;
                for (index_t kh = 0; kh < 3; ++kh)
                    memcpy(to + kh * 3 * per_tap, from + kh * line, sizeof(Map) * 3 * per_tap);
                for (index_t j = 9 * per_tap; j < layout.stride; ++j)
                    to[j] = padding_value<Map>(layout.one, j - 9 * per_tap);
            }
        }
    }
    // Fills the line of taps kh. Slot s holds pixel s - 1 (pixel width - s if sign is -1), so that the three
    // taps of a pixel are contiguous.
    template <class Channels, class PerTap>
    void stage(index_t q, index_t kh, index_t x0, index_t width, Channels C, PerTap per_tap,
               Map* line) const {
        const index_t y = q % rows.H + sign * (kh - 1);
        const S* const pixels = source + (q + sign * (kh - 1)) * rows.W * source_stride;
        for (index_t slot = 0; slot < width + 2; ++slot, line += per_tap) {
            const index_t x = x0 + (sign > 0 ? slot - 1 : width - slot);
            const bool inside = y >= 0 && y < rows.H && x >= 0 && x < rows.W;
            if (inside) {
#pragma omp simd
                for (index_t c = 0; c < C; ++c) line[c] = channel_value<Map>(pixels[x * source_stride + c]);
            } else {
                for (index_t c = 0; c < C; ++c) line[c] = Map{};
            }
            if (per_tap > C) line[C] = edge_value<Map>(inside);
        }
    }
};

template <class S, class Map>
void im2col_lines(const Exec& exec, const Im2colLines<S, Map>& lines) {
    const ImageRows& rows = lines.rows;
    const Columns& layout = lines.layout;
    if (!begin_launch(exec, lines, rows.pixels() * layout.C)) return;
    const auto run = [&](auto C, auto per_tap) {
#pragma omp parallel for num_threads(exec.threads) schedule(static) if (rows.pixels() * C > 4096)
        for (index_t q = rows.begin; q < rows.end; ++q) lines.row(q, C, per_tap);
    };
    with_channels(layout.C, [&]<class Channels>(Channels C) {
        if constexpr (std::is_same_v<Channels, index_t>)
            run(C, layout.per_tap());
        else if (layout.edge)
            run(C, std::integral_constant<index_t, Channels::value + 1>{});
        else
            run(C, C);
    });
}

// GPU version: a block rounds a tile of pixels and a one-pixel border into shared memory, and assembles the
// tile's columns from there, 16 bytes at a time. A column has the same offset from every pixel.
template <class S, class Map>
struct Im2colTile {
    static constexpr const char* name = "im2col_tile";
    static constexpr int kThreads = 256, kBlocks = 4, kPhases = 2, kSize = static_cast<int>(Pack<Map>::kSize);
    static constexpr index_t kTileWidth = 16, kTilePixels = 128;
    struct Locals {};
    ImageRows rows;
    int first_y, tile_rows, C, packs, step, source_stride, line;
    Divisor tile_width, frame_width, per_tap, pack_threads;
    bool mirrored, one;
    const S* source;
    Map* columns;

    // Offsets within a tile have 32 bits.
    static bool fits(const ImageRows& rows, const Columns& layout, index_t source_stride) {
        return shared_bytes(1, 1, layout) <= kSharedBytes && rows.W * source_stride <= index_t{1} << 23;
    }
    // The largest tile that fits in shared memory; tiles begin at rows.begin and stay within an image.
    static Im2colTile fit(const ImageRows& rows, const Columns& layout, Taps taps, const S* source,
                          index_t source_stride, Map* columns) {
        index_t width = std::min(rows.W, kTileWidth);
        while (width > 1 && shared_bytes(1, width, layout) > kSharedBytes) width /= 2;
        index_t height = std::max<index_t>(1, kTilePixels / width);
        while (rows.H % height != 0 || rows.begin % height != 0 ||
               shared_bytes(height, width, layout) > kSharedBytes)
            --height;
        const auto packs = static_cast<int>(layout.stride / kSize);
        const int pack_threads = std::min(packs, kThreads);
        return {rows,
                static_cast<int>(rows.begin % rows.H),
                static_cast<int>(height),
                static_cast<int>(layout.C),
                packs,
                kThreads / pack_threads,
                static_cast<int>(source_stride),
                static_cast<int>(line_of(width, layout)),
                Divisor(width),
                Divisor(width + 2),
                Divisor(layout.per_tap()),
                Divisor(pack_threads),
                taps == Taps::mirrored,
                layout.one,
                source,
                columns};
    }
    // Elements per line of the bordered tile: 21 banks of shared memory (mod 32), so that taps above and
    // below a pixel use other banks than those next to it.
    static index_t line_of(index_t width, const Columns& layout) {
        constexpr index_t kBanks = 128 / sizeof(Map), kShift = 84 / sizeof(Map);
        const index_t used = (width + 2) * layout.per_tap();
        return used + (kShift + kBanks - used % kBanks) % kBanks;
    }
    // Shared memory: what describe() writes for each column, and the bordered tile [height + 2, line] of pixels with per_tap
    // elements.
    static index_t shared_bytes(index_t height, index_t width, const Columns& layout) {
        return layout.stride * static_cast<index_t>(sizeof(int) + 2 * sizeof(Map)) +
               (height + 2) * line_of(width, layout) * static_cast<index_t>(sizeof(Map));
    }
    double bytes() const {
        return static_cast<double>(rows.pixels()) *
               (static_cast<double>(C) * sizeof(S) + static_cast<double>(packs) * sizeof(Pack<Map>));
    }
    BlockGrid grid() const {
        return {(rows.end - rows.begin + tile_rows - 1) / tile_rows,
                (rows.W + tile_width.divisor - 1) / tile_width.divisor,
                packs * kSize * static_cast<index_t>(sizeof(int) + 2 * sizeof(Map)) +
                    (tile_rows + 2) * line * static_cast<index_t>(sizeof(Map))};
    }
    GLOW_HD int* offsets(const BlockThread& at) const { return static_cast<int*>(at.shared); }
    GLOW_HD Map* keep(const BlockThread& at) const {
        return reinterpret_cast<Map*>(offsets(at) + packs * kSize);
    }
    GLOW_HD Map* set(const BlockThread& at) const { return keep(at) + packs * kSize; }
    GLOW_HD Map* staged(const BlockThread& at) const { return set(at) + packs * kSize; }

    // A column of the taps keeps all bits of the element at its offset from the pixel, in bytes; one after the taps, which
    // is constant, keeps none and sets its own.
    GLOW_HD void describe(int column, const BlockThread& at) const {
        const int tap = per_tap.quotient(column), c = column - tap * per_tap.divisor;
        const int kh = tap / 3, kw = tap - 3 * kh;
        const int offset = (mirrored ? 2 - kh : kh) * line + (mirrored ? 2 - kw : kw) * per_tap.divisor + c;
        offsets(at)[column] = tap < 9 ? offset * static_cast<int>(sizeof(Map)) : 0;
        memset(keep(at) + column, tap < 9 ? 0xff : 0, sizeof(Map));
        set(at)[column] = padding_value<Map>(one && tap == 9, c);
    }
    // 16 bytes of columns.
    struct Words {
        std::uint32_t word[4];
    };
    static_assert(sizeof(Words) == sizeof(Pack<Map>));
    GLOW_HD static Words words_of(const Pack<Map>& pack) {
        Words words;
        memcpy(&words, &pack, sizeof words);
        return words;
    }

    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals&) const {
        Map* const tile = staged(at);
        const auto H = static_cast<unsigned>(rows.H), W = static_cast<unsigned>(rows.W);
        const auto y0 = static_cast<int>(static_cast<unsigned>(first_y + at.x * tile_rows) % H);
        const int x0 = at.y * tile_width.divisor;
        const S* const corner =
            source + ((rows.begin + index_t{at.x} * tile_rows) * rows.W + x0) * source_stride;
        struct Cell {
            S value;
            int to;  // 4 * its place in the tile + 2 if it is the value, + 1 if it is the constant 1
        };
        const auto load = [&](int i) {
            const int pixel = per_tap.quotient(i), c = i - pixel * per_tap.divisor,
                      r = frame_width.quotient(pixel);
            const int dy = r - 1, dx = pixel - r * frame_width.divisor - 1;
            // A coordinate below 0 is a large number without sign.
            const bool inside = static_cast<unsigned>(y0 + dy) < H && static_cast<unsigned>(x0 + dx) < W;
            const bool from_source = inside && c != C;
            const int from = from_source ? (dy * static_cast<int>(W) + dx) * source_stride + c : 0;
            const int to = i + r * (line - frame_width.divisor * per_tap.divisor);
            // Always load: branches would prevent loads from overlapping.
            return Cell{corner[from], 4 * to + (from_source ? 2 : 0) + (!inside && c == C ? 1 : 0)};
        };
        // Without branches too: threads of a warp take different ones.
        const auto store = [&](int, const Cell& cell) {
            const Map value = channel_value<Map>(cell.value), constant = edge_value<Map>((cell.to & 1) == 0);
            tile[cell.to >> 2] = (cell.to & 2) != 0 ? value : constant;
        };
        copy_items<kThreads, 6>(at.thread, (tile_rows + 2) * frame_width.divisor * per_tap.divisor, load,
                                store);
#if defined(__CUDA_ARCH__)
#pragma unroll 1  // usually once
#endif
        for (int column = at.thread; column < packs * kSize; column += kThreads) describe(column, at);
    }
    // A thread assembles the same pack for many pixels.
    GLOW_HD void run(Phase<1>, const BlockThread& at, Locals&) const {
        const char* const tile = reinterpret_cast<const char*>(staged(at));
        const index_t row0 = index_t{at.x} * tile_rows;  // first row of the columns
        const index_t rows_left = rows.end - rows.begin - row0;
        const auto W = static_cast<int>(rows.W);
        const int height = rows_left < tile_rows ? static_cast<int>(rows_left) : tile_rows;
        const int last_x = W - at.y * tile_width.divisor - 1, first = pack_threads.quotient(at.thread);
        if (first >= step) return;
        Map* const block = columns + (row0 * W + at.y * tile_width.divisor) * packs * kSize;
        for (int pack = at.thread - first * pack_threads.divisor; pack < packs;
             pack += pack_threads.divisor) {
            int offset[kSize];
            memcpy(offset, offsets(at) + pack * kSize, sizeof offset);
            const Words kept = words_of(load_pack(keep(at) + pack * kSize)),
                        constant = words_of(load_pack(set(at) + pack * kSize));
            Map* const to = block + pack * kSize;
#if defined(__CUDA_ARCH__)
#pragma unroll 1  // otherwise not all of this stays in registers
#endif
            for (int p = first; p < height * tile_width.divisor; p += step) {
                const int y = tile_width.quotient(p), tile_x = p - y * tile_width.divisor;
                // Right of the image: the last pixel again. With a branch, the compiler would compute in each
                // round what is the same in all.
                const int x = tile_x < last_x ? tile_x : last_x;
                const char* const pixel =
                    tile + (y * line + x * per_tap.divisor) * static_cast<int>(sizeof(Map));
                Pack<Map> packed;
                for (int e = 0; e < kSize; ++e)
                    packed.value[e] = *reinterpret_cast<const Map*>(pixel + offset[e]);
                Words words = words_of(packed);
                for (int i = 0; i < 4; ++i) words.word[i] = (words.word[i] & kept.word[i]) | constant.word[i];
                memcpy(&packed, &words, sizeof packed);
                store_pack(packed, to + index_t{y * W + x} * packs * kSize);
            }
        }
    }
};

// Index: int, which a GPU multiplies faster, if it can count the columns' elements.
template <class Index>
struct Col2im {
    static constexpr const char* name = "col2im";
    static constexpr double kBytes = 11 * sizeof(real);  // nine taps in, their sum in and out
    index_t begin;
    Index H, W, count, stride, sign;  // count: image rows of the columns, which begin at image row `begin`
    Index offset[9];                  // of each tap's element, from that of its pixel
    const real* columns;
    real* target;
    index_t target_stride;

    static Col2im make(const ImageRows& rows, const Columns& layout, Taps taps, const real* columns,
                       real* target, index_t target_stride) {
        const index_t sign = sign_of(taps);
        Col2im made{rows.begin,
                    static_cast<Index>(rows.H),
                    static_cast<Index>(rows.W),
                    static_cast<Index>(rows.end - rows.begin),
                    static_cast<Index>(layout.stride),
                    static_cast<Index>(sign),
                    {},
                    columns,
                    target,
                    target_stride};
        for (index_t tap = 0; tap < 9; ++tap)
            made.offset[tap] = static_cast<Index>(
                sign * ((tap / 3 - 1) * rows.W + tap % 3 - 1) * layout.stride + tap * layout.per_tap());
        return made;
    }
    GLOW_HD bool has_row(Index row) const { return row >= 0 && row < count; }
    GLOW_HD unsigned taps(index_t q, index_t y, index_t x) const {
        const auto row = static_cast<Index>(q - begin);
        unsigned taps = image_taps<Index>(H, W, sign, static_cast<Index>(y), static_cast<Index>(x));
        if (!has_row(row - sign)) taps &= ~0x007u;  // kh = 0 is row q - sign
        if (!has_row(row)) taps &= ~0x038u;
        if (!has_row(row + sign)) taps &= ~0x1c0u;
        return taps;
    }
    GLOW_HD void operator()(index_t q, index_t x, index_t c, unsigned taps) const {
        const Index center =
            (static_cast<Index>(q - begin) * W + static_cast<Index>(x)) * stride + static_cast<Index>(c);
        real& at = target[(q * W + x) * target_stride + c];
        real sum = at;
        real value[9];  // read everything first, absent taps from a valid location, then add
        for (int tap = 0; tap < 9; ++tap) value[tap] = columns[taps >> tap & 1 ? center + offset[tap] : 0];
        for (int tap = 0; tap < 9; ++tap)
            if (taps >> tap & 1) sum += value[tap];
        at = sum;
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
    static constexpr double kBytes = 2 * sizeof(real);
    ImageRows rows;
    index_t C;
    const real* edge_weight;
    index_t edge_stride;
    const real* bias;
    const double* scale;
    real* out;
    GLOW_HD unsigned taps(index_t, index_t y, index_t x) const {
        return edge_weight != nullptr ? image_taps<index_t>(rows.H, rows.W, 1, y, x) : kAllTaps;
    }
    GLOW_HD void operator()(index_t q, index_t x, index_t c, unsigned taps) const {
        real& value = out[((q - rows.begin) * rows.W + x) * C + c];
        const auto edge = [&](index_t tap) { return edge_weight[(c * 9 + tap) * edge_stride]; };
        value = zero_convolution_output(value, bias[c], taps, edge, scale[c]);
    }
};

struct FinishBackward {
    static constexpr const char* name = "zero_convolution_backward";
    static constexpr double kBytes = 3 * sizeof(real);
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
    OutputGradients gradients;
    GLOW_HD void operator()(index_t c, const double* sum) const {
        if (gradients.bias != nullptr) gradients.bias[c] += static_cast<real>(sum[0]);
        gradients.logs[c] += static_cast<real>(kLogsFactor * sum[1]);
    }
};

// sum[tap] += d for the taps of border pixel (y, x) outside the image.
GLOW_HD inline void add_edge_taps(index_t H, index_t W, index_t y, index_t x, double d, double* sum) {
    for (index_t kh = 0; kh < 3; ++kh)
        for (index_t kw = 0; kw < 3; ++kw) {
            const bool inside = y + kh >= 1 && y + kh <= H && x + kw >= 1 && x + kw <= W;
            sum[kh * 3 + kw] += inside ? 0.0 : d;
        }
}
// Step between border pixels of image row y of width W: all pixels in the first and last row, otherwise both
// ends.
GLOW_HD inline index_t border_step(index_t H, index_t W, index_t y) {
    return y == 0 || y + 1 == H || W < 2 ? 1 : W - 1;
}

// One reduction row is an image.
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
// GPU version: one reduction row is an image row.
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
        real total[9];  // read everything before the first write, so that loads overlap
        for (index_t tap = 0; tap < 9; ++tap)
            total[tap] = dedge_weight[(c * 9 + tap) * edge_stride] + static_cast<real>(sum[tap]);
        for (index_t tap = 0; tap < 9; ++tap) dedge_weight[(c * 9 + tap) * edge_stride] = total[tap];
    }
};

}  // namespace

template <class S, class Map>
void im2col(const Exec& exec, const ImageRows& rows, const Columns& layout, Taps taps, const S* source,
            index_t source_stride, Map* columns) {
    const index_t sign = sign_of(taps);
    if (packs_fit(exec, layout.stride, columns) && Im2colTile<S, Map>::fits(rows, layout, source_stride)) {
        const auto tile = Im2colTile<S, Map>::fit(rows, layout, taps, source, source_stride, columns);
        return run_blocks(exec, tile.grid(), tile);
    }
    if (exec.device == Device::cpu && !exec.tuned_for_gpu() &&
        9 * layout.per_tap() <= Im2colLines<S, Map>::kStaged)
        return im2col_lines(exec, Im2colLines<S, Map>{rows, layout, sign, source, source_stride, columns});
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

void col2im(const Exec& exec, const ImageRows& rows, const Columns& layout, Taps taps, const real* columns,
            real* target, index_t target_stride) {
    // Image rows next to the block also receive values; those of other images do not (`inside` is false).
    const index_t begin = rows.begin % rows.H == 0 ? rows.begin : rows.begin - 1;
    const index_t end = rows.end % rows.H == 0 ? rows.end : rows.end + 1;
    const auto run = [&]<class Index>(Index) {
        for_each_stencil(exec, begin, end, rows.H, rows.W, layout.C,
                         Col2im<Index>::make(rows, layout, taps, columns, target, target_stride));
    };
    // The last offsets are those of the rows after the columns.
    const bool small = (rows.pixels() + 2 * rows.W + 2) * layout.stride <= std::numeric_limits<int>::max();
    if (exec.tuned_for_gpu() && small)
        run(int{});
    else
        run(index_t{});
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
                               const real* out, real* dout, const OutputGradients& gradients,
                               double* partial) {
    sum_columns(exec, rows, C, partial, FinishBackward{C, scale, out, dout}, StoreFinish{gradients});
}

void edge_weight_backward(const Exec& exec, const ImageRows& images, index_t C, const real* dpre,
                          real* dedge_weight, index_t edge_stride, double* partial) {
    const index_t rows = images.end - images.begin, H = images.H, W = images.W;
    const StoreEdge store{dedge_weight, edge_stride};
    if (exec.tuned_for_gpu())
        sum_columns(exec, rows, C, partial, EdgeBackwardRow{H, W, C, dpre}, store);
    else
        sum_columns(exec, rows / H, C, partial, EdgeBackward{H, W, C, dpre}, store, 2 * (H + W));
}

#define GLOW_INSTANTIATE(S, Map)                                                                         \
    template void im2col<S, Map>(const Exec&, const ImageRows&, const Columns&, Taps, const S*, index_t, \
                                 Map*);
GLOW_INSTANTIATE(state_t, real)
#if !defined(GLOW_REAL_DOUBLE)
GLOW_INSTANTIATE(real, real)
GLOW_INSTANTIATE(state_t, bfloat16)
GLOW_INSTANTIATE(real, bfloat16)
#endif
#undef GLOW_INSTANTIATE

}  // namespace glow::inline GLOW_REAL

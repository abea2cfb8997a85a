// The kernels of kernels/narrow_conv_backward.h: what one thread of a block does. Warps multiply together, so
// the host loop of block.cuh cannot run them; a test runs this source on the CPU with emulated warps
// (tests/kernels/warp_emulator.h).
#pragma once

#include "kernels/block.cuh"
#include "kernels/math.h"
#include "kernels/narrow_conv_backward.h"
#include "kernels/pack.cuh"
#include "kernels/tensor_core.cuh"

namespace glow::inline GLOW_REAL {
namespace narrow_conv {

inline constexpr int kRows = 64;  // pixels of a tile
inline constexpr index_t kMaxTaps = 112, kMaxColumns = 64;
inline constexpr int kSlice = 128;  // channels of a block of the last convolution's kernel

// Adds the parts, in a fixed order.
struct SumPartials {
    static constexpr const char* name = "narrow_conv_backward_sums";
    static constexpr int kAhead = 22;  // loads in flight; divides the usual 66, 88, 132 and 264 parts
    index_t size, weights;             // of a part; of these, the first are weights
    int parts;
    const real* partial;
    bool accumulate;
    real *dweight, *dbias;

    GLOW_HD void operator()(index_t i) const {
        real sum = 0;
        for (int part = 0; part < parts; part += kAhead) {
            real ahead[kAhead];
            const real* from = partial + part * size + i;
            if (part + kAhead <= parts) {
                for (int k = 0; k < kAhead; ++k, from += size) ahead[k] = *from;
            } else {
                for (int k = 0; k < kAhead; ++k) {
                    const real value = from[part + k < parts ? k * size : 0];
                    ahead[k] = part + k < parts ? value : real{0};
                }
            }
            for (int k = 0; k < kAhead; ++k) sum += ahead[k];
        }
        real& total = i < weights ? dweight[i] : dbias[i - weights];
        total = (accumulate ? total : real{0}) + sum;
    }
};

#if !defined(GLOW_REAL_DOUBLE)  // tensor cores add up floats

// Tiles [begin, end) of a part.
struct TileRange {
    int begin, end;
};
GLOW_DEVICE inline TileRange tiles_of_part(index_t rows, int part, int parts) {
    const int tiles = (static_cast<int>(rows) + kRows - 1) / kRows;
    return {static_cast<int>(index_t{tiles} * part / parts),
            static_cast<int>(index_t{tiles} * (part + 1) / parts)};
}
GLOW_DEVICE inline int rows_of_tile(index_t rows, int tile) {
    const index_t rest = rows - index_t{tile} * kRows;
    return static_cast<int>(rest < kRows ? rest : kRows);
}

// 8 bf16 values, two in each word.
using Words = Pack<unsigned>;
GLOW_DEVICE inline Words load_words(const bfloat16* from) {
    return load_pack(reinterpret_cast<const unsigned*>(from));
}
GLOW_DEVICE inline void store_words(const Words& words, bfloat16* to) {
    store_pack(words, reinterpret_cast<unsigned*>(to));
}
GLOW_DEVICE inline bfloat16 half_of(unsigned word, int half) {
    return {static_cast<std::uint16_t>(word >> 16 * half)};
}

GLOW_DEVICE inline void store_word(bfloat16* to, unsigned word) {
#if defined(__CUDACC__)
    *reinterpret_cast<unsigned*>(to) = word;
#else
    check_aligned(to, sizeof word);
    memcpy(to, &word, sizeof word);
#endif
}

// relu_gradient() of two values. From compute capability 9.0 on, one comparison serves both.
GLOW_HD inline unsigned relu_gradients(unsigned y, unsigned dy) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    unsigned positive;  // all bits of a half, or none; none for NaN
    asm("set.gt.u32.bf16x2 %0, %1, %2;" : "=r"(positive) : "r"(y), "r"(0u));
    return positive & dy;
#else
    // The highest bit of a half is set by a carry: if the value is not 0, and if it is NaN.
    const unsigned size = y & 0x7fff7fffu, nonzero = size + 0x7fff7fffu, nan = size + 0x007f007fu;
    const unsigned positive = nonzero & ~nan & ~y & 0x80008000u;
    return (positive >> 15) * 0xffffu & dy;
#endif
}

// Stores to global memory: two floats, and 8 bf16 values. In PTX, because the compiler splits a C++ store
// of values that are not in adjacent registers.
GLOW_DEVICE inline void store_global(float first, float second, float* to) {
#if defined(__CUDA_ARCH__)
    asm volatile("st.global.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(first), "f"(second) : "memory");
#else
    check_aligned(to, 8);
    to[0] = first, to[1] = second;
#endif
}
GLOW_DEVICE inline void store_global(const Words& words, bfloat16* to) {
#if defined(__CUDA_ARCH__)
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(words.value[0]),
                 "r"(words.value[1]), "r"(words.value[2]), "r"(words.value[3])
                 : "memory");
#else
    store_words(words, to);
#endif
}

// The last convolution. A block computes a slice of channels over a part of the pixels, tile by tile: its
// sums dW += dtaps^T hidden, which stay in registers, and dhidden = dtaps W of the tile, which goes from
// registers to memory. At most 112 taps, so that the registers hold dW.
struct OutputBlocking {
    static constexpr int kThreads = 256, kWarps = kThreads / 32;
    static constexpr int kTiles = 7, kTaps = 16 * kTiles, kColumns = kSlice / 8;  // column: 8 channels
    // Elements of a row in shared memory: 16 bytes more than a multiple of 32, against bank conflicts.
    static constexpr int kTapLine = kTaps + 8, kChannelLine = kSlice + 8;
    static constexpr int kStageSize = kRows * (kTapLine + kChannelLine);  // elements of dtaps and hidden
    static constexpr int kStages = 2;                                     // one of them loaded ahead
    // Warps of the sums over pixels: 2 by 4, each with every second tile of taps and 4 columns.
    static constexpr int kSumWarps = 2, kSumColumns = 4, kSumTiles = 4;
    // Warps of dhidden: 2 by 4, each with 2 tiles of 16 pixels and 4 columns.
    static constexpr int kOutWarps = 4, kOutColumns = 4, kRowTiles = 2;
    static constexpr int kSums = 8 * kThreads;  // of dhidden's columns, by thread
    // Unrolling of dtaps W. For compute capability 8.0, CUDA 13.0 spills registers if it is complete.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
    static constexpr int kUnroll = 1;
#else
    static constexpr int kUnroll = 7;
#endif
    static constexpr int kSharedBytes = 2 * (kStages * kStageSize + kTaps * kChannelLine) + 4 * kSums;
    static_assert(kTaps == kMaxTaps && kSharedBytes <= kTensorCoreSharedBytes);
};

// Row of dtaps that is row m of 16 in the product. Lanes 4 m to 4 m + 3 hold row m of a product; if they
// held the rows in order, the lanes of two rows would read `hidden` from the same banks.
GLOW_DEVICE inline int row_of(int m) {
    return m / 8 * 8 + m % 8 / 2 + m % 2 * 4;
}

// Starts a thread's copies of a tile: dtaps by 8 threads per row, hidden by 16. Rows after the last one, and
// packs after the last tap, become zeros.
GLOW_DEVICE inline void copy_tile(const OutputConvBackward& p, int thread, int slice, int tile,
                                  bfloat16* stage) {
    using B = OutputBlocking;
    const index_t first = index_t{tile} * kRows;
    const int rows = rows_of_tile(p.rows, tile);
    const int taps = static_cast<int>(p.taps), width = static_cast<int>(p.width);
    const bfloat16* const dtaps = p.dtaps + first * taps;
    const bfloat16* const hidden = p.hidden + first * width + slice * kSlice;
    constexpr int kTapRows = B::kThreads / 8, kChannelRows = B::kThreads / B::kColumns;  // at once
    static_assert(2 * kTapRows == kRows && 2 * 8 >= B::kTaps / 8 && 4 * kChannelRows == kRows);
    GLOW_UNROLL()
    for (int k = 0; k < 4; ++k) {
        const int row = thread / 8 + k % 2 * kTapRows, pack = thread % 8 + k / 2 * 8;
        const bool present = row < rows && pack < taps / 8;
        if (pack < B::kTaps / 8)
            copy_async(stage + row * B::kTapLine + 8 * pack, dtaps + (present ? row * taps + 8 * pack : 0),
                       present);
    }
    GLOW_UNROLL()
    for (int k = 0; k < 4; ++k) {
        const int row = thread / B::kColumns + k * kChannelRows, pack = thread % B::kColumns;
        const bool present = row < rows;
        copy_async(stage + kRows * B::kTapLine + row * B::kChannelLine + 8 * pack,
                   hidden + (present ? row * width + 8 * pack : 0), present);
    }
    commit_copies();
}

// A slice of the weight, with zeros after the last tap. Of 32 channels, number 8 q + 2 j + e (j < 4, e < 2)
// is stored at 8 j + 2 q + e: then lane q of four holds channels 8 q to 8 q + 7 of the product dtaps W.
GLOW_DEVICE inline void copy_weight(const OutputConvBackward& p, int thread, int slice, bfloat16* weight) {
    using B = OutputBlocking;
    constexpr int kRowsAtOnce = B::kThreads / B::kColumns, kLoads = B::kTaps / kRowsAtOnce;
    const int first = thread / B::kColumns, pack = thread % B::kColumns;
    const bfloat16* const from = p.weight + slice * kSlice + 8 * pack;
    Words words[kLoads];  // all requested before the first is stored
    GLOW_UNROLL()
    for (int k = 0; k < kLoads; ++k) {
        const int tap = first + k * kRowsAtOnce;
        const bool present = tap < static_cast<int>(p.taps);
        words[k] = load_words(from + (present ? tap * p.width : 0));
        if (!present) words[k] = {};
    }
    GLOW_UNROLL()
    for (int k = 0; k < kLoads; ++k) {
        bfloat16* const to =
            weight + (first + k * kRowsAtOnce) * B::kChannelLine + pack / 4 * 32 + pack % 4 * 2;
        for (int j = 0; j < 4; ++j) store_word(to + 8 * j, words[k].value[j]);
    }
}

// A thread's place in a block of the last convolution, and addresses of its lane's part of the first factors:
// of dtaps and hidden, in bytes from a stage.
struct OutputThread {
    using B = OutputBlocking;
    int warp, lane;
    int sum_warp = warp % B::kSumWarps, sum_column = warp / B::kSumWarps * B::kSumColumns;
    int out_column = warp % B::kOutWarps * B::kOutColumns, out_row = warp / B::kOutWarps * B::kRowTiles * 16;
    unsigned hidden_right = 2 * (kRows * B::kTapLine + 8 * sum_column) + right_offset(lane, B::kChannelLine),
             dtaps_left_transposed = 2 * 16 * sum_warp + left_transposed_offset(lane, B::kTapLine),
             dtaps_left = 2 * ((out_row + row_of(lane % 16)) * B::kTapLine + lane / 16 * 8), weight_right;

    GLOW_DEVICE OutputThread(int thread, const bfloat16* weight)
        : warp(thread / 32),
          lane(thread % 32),
          weight_right(shared_address(weight) + 2 * 8 * out_column + right_offset(lane, B::kChannelLine)) {}

    using WeightSums = float[B::kSumTiles][B::kSumColumns][4];
    using Outputs = float[B::kRowTiles][B::kOutColumns][4];

    // dW += dtaps^T hidden of the tile at `stage`.
    GLOW_DEVICE void add_weight_gradient(unsigned stage, WeightSums& dW) const {
        GLOW_UNROLL(1)
        for (int k = 0; k < kRows; k += 16) {
            unsigned h[B::kSumColumns][2];
            for (int n = 0; n < B::kSumColumns; n += 2)
                load_right(h[n], h[n + 1], stage + hidden_right + 2 * (k * B::kChannelLine + 8 * n));
            for (int i = 0; i < B::kSumTiles; ++i) {
                if (sum_warp + i * B::kSumWarps >= B::kTiles) break;
                unsigned d[4];
                load_left_transposed(
                    d, stage + dtaps_left_transposed + 2 * (k * B::kTapLine + 16 * i * B::kSumWarps));
                for (int n = 0; n < B::kSumColumns; ++n) multiply_add(dW[i][n], d, h[n]);
            }
        }
    }
    // out += dtaps W
    GLOW_DEVICE void multiply_by_weight(unsigned stage, Outputs& out) const {
        GLOW_UNROLL(B::kUnroll)
        for (int k = 0; k < B::kTaps; k += 16) {
            unsigned w[B::kOutColumns][2];
            for (int n = 0; n < B::kOutColumns; n += 2)
                load_right(w[n], w[n + 1], weight_right + 2 * (k * B::kChannelLine + 8 * n));
            for (int i = 0; i < B::kRowTiles; ++i) {
                unsigned d[4];
                load_left(d, stage + dtaps_left + 2 * (16 * i * B::kTapLine + k));
                for (int n = 0; n < B::kOutColumns; ++n) multiply_add(out[i][n], d, w[n]);
            }
        }
    }
    // dhidden = out, rounded, where hidden > 0, else 0. A thread has 8 successive channels of a row
    // (copy_weight). Adds its columns to `sums`: 4 of them, and the other 4 kThreads packs later.
    GLOW_DEVICE void store_dhidden(const OutputConvBackward& p, int slice, int tile, const Outputs& out,
                                   const bfloat16* hidden, Pack<float>* sums) const {
        const int column = 8 * (out_column + lane % 4), width = static_cast<int>(p.width);
        const int rows = rows_of_tile(p.rows, tile);
        bfloat16* const to = p.dhidden + index_t{tile} * kRows * width + slice * kSlice + column;
        float sum[8] = {};
        GLOW_UNROLL()
        for (int i = 0; i < 2 * B::kRowTiles; ++i) {
            const int row = out_row + 8 * i + row_of(lane / 4), first = i % 2 * 2;
            const Words y = load_words(hidden + row * B::kChannelLine + column);
            Words d;
            for (int n = 0; n < 4; ++n) {
                const float(&o)[4] = out[i / 2][n];
                d.value[n] = relu_gradients(y.value[n], pack_bf16(o[first], o[first + 1]));
                for (int e = 0; e < 2; ++e) sum[2 * n + e] += widen(half_of(d.value[n], e));
            }
            if (row < rows) store_global(d, to + row * width);
        }
        for (int n = 0; n < 2; ++n) {
            Pack<float> total = load_pack(sums[n * B::kThreads].value);
            for (int j = 0; j < 4; ++j) total.value[j] += sum[4 * n + j];
            store_pack(total, sums[n * B::kThreads].value);
        }
    }
    // partial [taps, width]
    GLOW_DEVICE void store_weight_gradient(const WeightSums& dW, int taps, index_t width,
                                           float* partial) const {
        int tap = 16 * sum_warp + lane / 4;
        float* to = partial + tap * width + 8 * sum_column + lane % 4 * 2;
        for (int i = 0; i < B::kSumTiles; ++i) {
            for (int half = 0; half < 2; ++half) {
                for (int n = 0; n < B::kSumColumns && tap < taps; ++n)
                    store_global(dW[i][n][2 * half], dW[i][n][2 * half + 1], to + 8 * n);
                tap += 8, to += 8 * width;
            }
            const int skipped = 16 * (B::kSumWarps - 1);  // of the other warps
            tap += skipped, to += skipped * width;
        }
    }
};

// Sum of channel c over the threads that have it: lane c / 8 % 4 of four in each row of two warps.
GLOW_DEVICE inline float sum_of_channel(const Pack<float>* sums, int c) {
    using B = OutputBlocking;
    float sum = 0;
    for (int warp = c / 32; warp < B::kWarps; warp += B::kOutWarps)
        for (int row = 0; row < 8; ++row)
            sum += sums[c % 8 / 4 * B::kThreads + 32 * warp + 4 * row + c / 8 % 4].value[c % 4];
    return sum;
}

// partial [parts, taps + 1, width]: dW, and the sums of dhidden in the last row.
GLOW_DEVICE inline void output_conv_backward(const OutputConvBackward& p, const BlockThread& at, int parts,
                                             float* __restrict__ partial) {
    using B = OutputBlocking;
    bfloat16* const weight = static_cast<bfloat16*>(at.shared);  // [kTaps, kChannelLine]
    Pack<float>* const sums = reinterpret_cast<Pack<float>*>(weight + B::kTaps * B::kChannelLine);
    bfloat16* const stages = reinterpret_cast<bfloat16*>(sums + 2 * B::kThreads);

    const int slice = at.x, part = at.y, taps = static_cast<int>(p.taps);
    const TileRange tiles = tiles_of_part(p.rows, part, parts);
    copy_tile(p, at.thread, slice, tiles.begin, stages);
    copy_weight(p, at.thread, slice, weight);
    sums[at.thread] = sums[at.thread + B::kThreads] = {};

    const OutputThread thread(at.thread, weight);
    OutputThread::WeightSums dW = {};
    int s = 0;
    GLOW_UNROLL(1)
    for (int tile = tiles.begin; tile < tiles.end; ++tile, s ^= 1) {
        bfloat16* const mine = stages + s * B::kStageSize;
        const unsigned stage = shared_address(mine);
        wait_for_copies<0>();
        sync_threads();  // this tile has arrived, and no thread still reads the previous one
        if (tile + 1 < tiles.end) copy_tile(p, at.thread, slice, tile + 1, stages + (s ^ 1) * B::kStageSize);
        thread.add_weight_gradient(stage, dW);
        OutputThread::Outputs out = {};
        thread.multiply_by_weight(stage, out);
        thread.store_dhidden(p, slice, tile, out, mine + kRows * B::kTapLine, sums + at.thread);
    }
    float* const mine = partial + index_t{part} * (taps + 1) * p.width + index_t{slice} * kSlice;
    thread.store_weight_gradient(dW, taps, p.width, mine);
    sync_threads();
    for (int c = at.thread; c < kSlice; c += B::kThreads) mine[taps * p.width + c] = sum_of_channel(sums, c);
}

// The first convolution. A block processes a part of the pixels and all channels, kChannels of them at a
// time; its sums dW for all of them stay in registers, and the weight in shared memory.
//
// With 256 threads a warp's results are 32 by 16, which needs fewer loads of factors than the 16 by 16 of 512
// threads.
template <int kSteps, int kThreadCount = 256>  // kSteps: width / kChannels
struct InputBlocking {
    static constexpr int kThreads = kThreadCount, kRowTiles = 512 / kThreads, kCount = kSteps;
    static constexpr int kColumns = kMaxColumns, kChannels = 64;  // at most; at a time
    static constexpr int kPacks = kColumns / 8;
    static constexpr int kLine = 64 + 8;  // elements of a row in shared memory
    static constexpr int kTileSize = 64 * kLine;
    // Of dhidden and hidden, all but one loaded ahead; and of expanded, for as many steps.
    static constexpr int kStages = 4, kExpanded = kSteps < kStages ? 3 : 2;
    static constexpr int kWeightSize = kSteps * kChannels * kColumns;
    static constexpr int kSharedBytes = 2 * ((2 * kStages + kExpanded) * kTileSize + kWeightSize);
    static constexpr int kRowsAtOnce = kThreads / kPacks;  // copied
    static_assert(kSharedBytes <= kTensorCoreSharedBytes && kRows == 64 && kRowsAtOnce * kRowTiles == kRows);
};

// Shared memory of a block of the first convolution.
template <class B>
struct InputMemory {
    bfloat16* start;

    GLOW_DEVICE bfloat16* dhidden(int step) const { return start + step % B::kStages * 2 * B::kTileSize; }
    GLOW_DEVICE bfloat16* hidden(int step) const { return dhidden(step) + B::kTileSize; }
    GLOW_DEVICE bfloat16* expanded(int tile) const {
        return start + (2 * B::kStages + tile % B::kExpanded) * B::kTileSize;
    }
    GLOW_DEVICE bfloat16* weight() const { return start + (2 * B::kStages + B::kExpanded) * B::kTileSize; }
    // Element of the weight at which a pack starts. Its rows have no padding, so packs are permuted against
    // bank conflicts.
    GLOW_DEVICE static int weight_at(int row, int pack) { return row * B::kColumns + 8 * (pack ^ row % 8); }
};

// The packs that a thread of the first convolution copies of every array: one in each of kRowTiles rows.
template <class B>
struct InputCopies {
    const InputConvBackward& p;
    InputMemory<B> memory;
    TileRange tiles;
    int row, pack, columns = static_cast<int>(p.columns);

    GLOW_DEVICE int count() const { return tiles.end - tiles.begin; }
    GLOW_DEVICE bool in_columns() const { return pack < columns / 8; }

    // Not a group of its own: part of the first tile's.
    GLOW_DEVICE void start_weight() const {
        for (int channel = row; channel < B::kCount * B::kChannels; channel += B::kRowsAtOnce)
            copy_async(memory.weight() + memory.weight_at(channel, pack),
                       p.weight + (in_columns() ? channel * columns + 8 * pack : 0), in_columns());
    }
    // Tile of this part, which may be after the last one; chunk: of channels, kCount or more for the tiles
    // after it. Rows after the last one, and packs after the last column, become zeros.
    GLOW_DEVICE void start(int tile, int chunk) const {
        tile += chunk / B::kCount, chunk %= B::kCount;
        if (tile < count()) {
            const index_t first = index_t{tiles.begin + tile} * kRows;
            const int rows = rows_of_tile(p.rows, tiles.begin + tile), width = static_cast<int>(p.width);
            const index_t wide = first * p.width + chunk * B::kChannels;
            const int step = tile * B::kCount + chunk;
            GLOW_UNROLL()
            for (int i = 0; i < B::kRowTiles; ++i) {
                const int r = row + i * B::kRowsAtOnce, to = r * B::kLine + 8 * pack;
                const int from = r < rows ? r * width + 8 * pack : 0;
                copy_async(memory.dhidden(step) + to, p.dhidden + wide + from, r < rows);
                copy_async(memory.hidden(step) + to, p.hidden + wide + from, r < rows);
                if (chunk == 0) {
                    const bool present = r < rows && in_columns();
                    copy_async(memory.expanded(tile) + to,
                               p.expanded + first * columns + (present ? r * columns + 8 * pack : 0),
                               present);
                }
            }
        }
        commit_copies();  // also of nothing, because groups are counted
    }
    // G = dhidden where hidden > 0, else 0, in dhidden's place.
    GLOW_DEVICE void mask(int step) const {
        GLOW_UNROLL()
        for (int i = 0; i < B::kRowTiles; ++i) {
            const int to = (row + i * B::kRowsAtOnce) * B::kLine + 8 * pack;
            const Words y = load_words(memory.hidden(step) + to);
            Words d = load_words(memory.dhidden(step) + to);
            for (int n = 0; n < 4; ++n) d.value[n] = relu_gradients(y.value[n], d.value[n]);
            store_words(d, memory.dhidden(step) + to);
        }
    }
};

// A thread's place in a block of the first convolution, and addresses of its lane's part of the first
// factors. Warps: 2 (with 512 threads 4) by 4 over the rows and columns of both results.
template <class B>
struct InputThread {
    int warp, lane;
    int row = warp / 4 * 16 * B::kRowTiles, column = warp % 4 * 16;
    unsigned right = 2 * column + right_offset(lane, B::kLine),
             weight_right = 2 * InputMemory<B>::weight_at(lane % 16, column / 8 + lane / 16),
             left = 2 * row * B::kLine + left_offset(lane, B::kLine),
             left_transposed = 2 * row + left_transposed_offset(lane, B::kLine);

    GLOW_DEVICE explicit InputThread(int thread) : warp(thread / 32), lane(thread % 32) {}

    using Sums = float[B::kRowTiles][2][4];

    // out += G weight, dW += G^T expanded
    GLOW_DEVICE void multiply(unsigned G, unsigned weight, unsigned expanded, Sums& out, Sums& dW) const {
        GLOW_UNROLL()
        for (int k = 0; k < kRows; k += 16) {
            unsigned w[2][2], x[2][2], a[4];
            load_right(w[0], w[1], weight + weight_right + 2 * k * B::kColumns);
            load_right(x[0], x[1], expanded + right + 2 * k * B::kLine);
            GLOW_UNROLL()
            for (int i = 0; i < B::kRowTiles; ++i) {
                load_left(a, G + left + 2 * (16 * i * B::kLine + k));
                for (int n = 0; n < 2; ++n) multiply_add(out[i][n], a, w[n]);
                load_left_transposed(a, G + left_transposed + 2 * (k * B::kLine + 16 * i));
                for (int n = 0; n < 2; ++n) multiply_add(dW[i][n], a, x[n]);
            }
        }
    }
    // Stores the sums in an array [rows, columns].
    GLOW_DEVICE void store(const Sums& sums, int rows, int columns, float* to) const {
        int r = row + lane / 4;
        const int c = column + lane % 4 * 2;
        to += r * columns + c;
        for (int half = 0; half < 2 * B::kRowTiles; ++half) {
            for (int n = 0; n < 2; ++n)
                if (r < rows && c + 8 * n < columns)
                    store_global(sums[half / 2][n][half % 2 * 2], sums[half / 2][n][half % 2 * 2 + 1],
                                 to + 8 * n);
            r += 8, to += 8 * columns;
        }
    }
};

// partial [parts, width, columns]
template <class B>
GLOW_DEVICE inline void input_conv_backward(const InputConvBackward& p, const BlockThread& at, int parts,
                                            float* __restrict__ partial) {
    const InputMemory<B> memory{static_cast<bfloat16*>(at.shared)};
    const int part = at.x, columns = static_cast<int>(p.columns);
    const InputCopies<B> copies{p, memory, tiles_of_part(p.rows, part, parts), at.thread / B::kPacks,
                                at.thread % B::kPacks};
    copies.start_weight();
    GLOW_UNROLL()
    for (int chunk = 0; chunk < B::kStages - 1; ++chunk) copies.start(0, chunk);

    const InputThread<B> thread(at.thread);
    typename InputThread<B>::Sums dW[B::kCount] = {};
    GLOW_UNROLL(1)
    for (int tile = 0; tile < copies.count(); ++tile) {
        typename InputThread<B>::Sums out = {};
        GLOW_UNROLL()
        for (int chunk = 0; chunk < B::kCount; ++chunk) {
            const int step = tile * B::kCount + chunk;
            wait_for_copies<B::kStages - 2>();
            copies.mask(step);
            sync_threads();  // this step is masked, and no thread still reads the previous one
            copies.start(tile, chunk + B::kStages - 1);
            thread.multiply(shared_address(memory.dhidden(step)),
                            shared_address(memory.weight()) + 2 * chunk * B::kChannels * B::kColumns,
                            shared_address(memory.expanded(tile)), out, dW[chunk]);
        }
        const int number = copies.tiles.begin + tile;
        thread.store(out, rows_of_tile(p.rows, number), columns,
                     p.dexpanded + index_t{number} * kRows * columns);
    }
    float* const mine = partial + index_t{part} * p.width * columns;
    GLOW_UNROLL()
    for (int chunk = 0; chunk < B::kCount; ++chunk)
        thread.store(dW[chunk], B::kChannels, columns, mine + chunk * B::kChannels * columns);
}

#endif  // GLOW_REAL_DOUBLE

}  // namespace narrow_conv
}  // namespace glow::inline GLOW_REAL

#include <string>

#include "kernels/block.cuh"
#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/narrow_conv_backward.h"
#include "kernels/pack.cuh"

#if defined(__CUDACC__)
#include "kernels/tensor_core.cuh"
#endif

namespace glow::inline GLOW_REAL {
namespace {

constexpr int kRows = 64;  // pixels of a tile
constexpr index_t kMaxTaps = 112, kMaxColumns = 64;
constexpr int kSlice = 128;  // channels of a block of the last convolution's kernel

int tiles_of(index_t rows) {
    return static_cast<int>((rows + kRows - 1) / kRows);
}
// Parts of the pixels: each has a block, or a block for each slice of channels.
int input_parts(index_t rows) {
    return std::clamp(kMultiprocessors, 1, std::max(1, tiles_of(rows)));
}
int output_parts(index_t rows, index_t width) {
    const int slices = static_cast<int>(width / kSlice);
    return std::clamp(2 * kMultiprocessors / slices, 1, std::max(1, tiles_of(rows)));
}

// Adds the parts, in a fixed order.
struct SumPartials {
    static constexpr const char* name = "narrow_conv_backward_sums";
    static constexpr int kAhead = 8;
    index_t size, weights;  // of a part; of these, the first are weights
    int parts;
    const real* partial;
    bool accumulate;
    real *dweight, *dbias;

    GLOW_HD void operator()(index_t i) const {
        real sum = 0;
        for (int part = 0; part < parts; part += kAhead) {
            real ahead[kAhead];
            for (int k = 0; k < kAhead; ++k) {
                const real value = partial[(part + k < parts ? part + k : part) * size + i];
                ahead[k] = part + k < parts ? value : real{0};
            }
            for (int k = 0; k < kAhead; ++k) sum += ahead[k];
        }
        real& total = i < weights ? dweight[i] : dbias[i - weights];
        total = (accumulate ? total : real{0}) + sum;
    }
};

#if defined(__CUDACC__)

// The last convolution. A block computes a slice of channels over a part of the pixels, tile by tile: first
// its sums dW += dtaps^T hidden, which stay in registers, then dhidden = dtaps W of the tile, which replaces
// `hidden` in shared memory and is written from there. At most 112 taps, so that the registers hold dW.
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
    static constexpr int kSums =
        kWarps / kOutWarps * kSlice;  // of dhidden's columns, by warps below each other
    static constexpr int kSharedBytes = 2 * (kStages * kStageSize + kTaps * kChannelLine) + 4 * kSums;
    static_assert(kTaps == kMaxTaps && kSharedBytes <= kTensorCoreSharedBytes);
};

// Starts to copy rows to shared memory, kPacks packs each. A row in memory has `packs` of them; the others,
// and rows after the last one, become zeros.
template <int kThreads, int kPacks>
__device__ inline void copy_rows(bfloat16* to, int to_line, const bfloat16* from, index_t line, int rows,
                                 int packs) {
#pragma unroll 1  // few registers
    for (int i = threadIdx.x; i < kRows * kPacks; i += kThreads) {
        const int row = i / kPacks, pack = i % kPacks;
        const bool present = row < rows && pack < packs;
        copy_async(to + row * to_line + 8 * pack, present ? from + row * line + 8 * pack : from, present);
    }
}

// Tiles [begin, end) of a part.
struct TileRange {
    int begin, end;
};
__device__ inline TileRange tiles_of_part(index_t rows, int part, int parts) {
    const int tiles = (static_cast<int>(rows) + kRows - 1) / kRows;
    return {static_cast<int>(index_t{tiles} * part / parts),
            static_cast<int>(index_t{tiles} * (part + 1) / parts)};
}

// A thread's place in a block of the last convolution, and addresses of its lane's part of the first factors:
// of dtaps and hidden, in bytes from a stage.
struct OutputThread {
    using B = OutputBlocking;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int sum_warp = warp % B::kSumWarps, sum_column = warp / B::kSumWarps * B::kSumColumns;
    int out_column = warp % B::kOutWarps * B::kOutColumns, out_row = warp / B::kOutWarps * B::kRowTiles * 16;
    unsigned hidden_right = 2 * (kRows * B::kTapLine + 8 * sum_column) + right_offset(lane, B::kChannelLine),
             dtaps_left_transposed = 2 * 16 * sum_warp + left_transposed_offset(lane, B::kTapLine),
             dtaps_left = 2 * out_row * B::kTapLine + left_offset(lane, B::kTapLine), weight_right;

    __device__ explicit OutputThread(const bfloat16* weight)
        : weight_right(shared_address(weight) + 2 * 8 * out_column + right_offset(lane, B::kChannelLine)) {}

    using WeightSums = float[B::kSumTiles][B::kSumColumns][4];
    using Outputs = float[B::kRowTiles][B::kOutColumns][4];

    // dW += dtaps^T hidden of the tile at `stage`.
    __device__ void add_weight_gradient(unsigned stage, WeightSums& dW) const {
#pragma unroll 1
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
    __device__ void multiply_by_weight(unsigned stage, Outputs& out) const {
#pragma unroll 7
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
    // hidden <- out, rounded, where hidden > 0, else 0. Adds up the columns.
    __device__ void replace_hidden(const Outputs& out, bfloat16* hidden, float* column_sums) const {
        for (int n = 0; n < B::kOutColumns; ++n) {
            const int column = 8 * (out_column + n) + lane % 4 * 2;
            float sum[2] = {};
            for (int i = 0; i < B::kRowTiles; ++i)
                for (int half = 0; half < 2; ++half) {
                    const int row = out_row + 16 * i + 8 * half + lane / 4;
                    auto& pair = *reinterpret_cast<unsigned*>(hidden + row * B::kChannelLine + column);
                    const unsigned rounded = pack_bf16(out[i][n][2 * half], out[i][n][2 * half + 1]);
                    unsigned both = 0;
                    for (int j = 0; j < 2; ++j) {
                        const bfloat16 y{static_cast<std::uint16_t>(pair >> 16 * j)};
                        const bfloat16 d =
                            relu_gradient(y, bfloat16{static_cast<std::uint16_t>(rounded >> 16 * j)});
                        sum[j] += widen(d);
                        both |= unsigned{d.bits} << 16 * j;
                    }
                    pair = both;
                }
            for (int j = 0; j < 2; ++j) {  // over the lanes of a column
                for (int distance = 4; distance < 32; distance *= 2)
                    sum[j] += __shfl_xor_sync(~0u, sum[j], distance);
                if (lane < 4) column_sums[warp / B::kOutWarps * kSlice + column + j] += sum[j];
            }
        }
    }
    // partial [taps, width]
    __device__ void store_weight_gradient(const WeightSums& dW, int taps, index_t width,
                                          float* partial) const {
        for (int i = 0; i < B::kSumTiles; ++i) {
            const int m = sum_warp + i * B::kSumWarps;
            for (int n = 0; n < B::kSumColumns && m < B::kTiles; ++n)
                for (int half = 0; half < 2; ++half) {
                    const int tap = 16 * m + 8 * half + lane / 4,
                              column = 8 * (sum_column + n) + lane % 4 * 2;
                    if (tap < taps)
                        *reinterpret_cast<float2*>(partial + tap * width + column) =
                            float2{dW[i][n][2 * half], dW[i][n][2 * half + 1]};
                }
        }
    }
};

// A slice of the weight, with zeros behind the last tap.
__device__ inline void copy_weight(const OutputConvBackward& p, int slice, bfloat16* weight) {
    using B = OutputBlocking;
    for (int i = threadIdx.x; i < B::kTaps * B::kColumns; i += B::kThreads) {
        const int tap = i / B::kColumns, pack = i - tap * B::kColumns;
        uint4 value{};
        if (tap < static_cast<int>(p.taps))
            value = *reinterpret_cast<const uint4*>(p.weight + tap * p.width + index_t{slice} * kSlice +
                                                    8 * pack);
        *reinterpret_cast<uint4*>(weight + tap * B::kChannelLine + 8 * pack) = value;
    }
}

__device__ inline void store_dhidden(const OutputConvBackward& p, int slice, int tile,
                                     const bfloat16* dhidden) {
    using B = OutputBlocking;
    for (int i = threadIdx.x; i < kRows * B::kColumns; i += B::kThreads) {
        const int row = i / B::kColumns, pack = i - row * B::kColumns;
        const index_t to = index_t{tile} * kRows + row;
        if (to < p.rows)
            *reinterpret_cast<uint4*>(p.dhidden + to * p.width + index_t{slice} * kSlice + 8 * pack) =
                *reinterpret_cast<const uint4*>(dhidden + row * B::kChannelLine + 8 * pack);
    }
}

// partial [parts, taps + 1, width]: dW, and the sums of dhidden in the last row.
__global__ void __launch_bounds__(OutputBlocking::kThreads, 2)
    output_conv_backward_kernel(const __grid_constant__ OutputConvBackward p, float* __restrict__ partial) {
    using B = OutputBlocking;
    extern __shared__ uint4 shared[];
    bfloat16* const weight = reinterpret_cast<bfloat16*>(shared);  // [kTaps, kChannelLine]
    float* const column_sums = reinterpret_cast<float*>(weight + B::kTaps * B::kChannelLine);  // [kSums]
    bfloat16* const stages = reinterpret_cast<bfloat16*>(column_sums + B::kSums);
    const auto dtaps_of = [&](int s) { return stages + s * B::kStageSize; };
    const auto hidden_of = [&](int s) { return dtaps_of(s) + kRows * B::kTapLine; };

    const int slice = blockIdx.x, part = blockIdx.y, taps = static_cast<int>(p.taps);
    const TileRange tiles = tiles_of_part(p.rows, part, gridDim.y);
    const auto load = [&](int tile) {
        const int s = (tile - tiles.begin) % B::kStages;
        const index_t first = index_t{tile} * kRows;
        const int rows = static_cast<int>(min(index_t{kRows}, p.rows - first));
        copy_rows<B::kThreads, B::kTaps / 8>(dtaps_of(s), B::kTapLine, p.dtaps + first * taps, taps, rows,
                                             taps / 8);
        copy_rows<B::kThreads, B::kColumns>(hidden_of(s), B::kChannelLine,
                                            p.hidden + first * p.width + slice * kSlice, p.width, rows,
                                            B::kColumns);
        commit_copies();
    };
    load(tiles.begin);
    copy_weight(p, slice, weight);
    for (int i = threadIdx.x; i < B::kSums; i += B::kThreads) column_sums[i] = 0;

    const OutputThread thread(weight);
    OutputThread::WeightSums dW = {};
    for (int tile = tiles.begin; tile < tiles.end; ++tile) {
        const int s = (tile - tiles.begin) % B::kStages;
        const unsigned stage = shared_address(stages) + 2 * s * B::kStageSize;
        wait_for_copies<0>();
        __syncthreads();
        if (tile + 1 < tiles.end) load(tile + 1);
        thread.add_weight_gradient(stage, dW);
        OutputThread::Outputs out = {};
        thread.multiply_by_weight(stage, out);
        __syncthreads();  // `hidden` has been read as a factor
        thread.replace_hidden(out, hidden_of(s), column_sums);
        __syncthreads();
        store_dhidden(p, slice, tile, hidden_of(s));
    }
    float* const mine = partial + index_t{part} * (taps + 1) * p.width + index_t{slice} * kSlice;
    thread.store_weight_gradient(dW, taps, p.width, mine);
    __syncthreads();
    for (int c = threadIdx.x; c < kSlice; c += B::kThreads) {
        float sum = 0;
        for (int r = 0; r < B::kWarps / B::kOutWarps; ++r) sum += column_sums[r * kSlice + c];
        mine[taps * p.width + c] = sum;
    }
}

// The first convolution. A block processes a part of the pixels and all channels, kChannels of them at a
// time; its sums dW for all of them stay in registers.
struct InputBlocking {
    static constexpr int kThreads = 512;
    static constexpr int kColumns = kMaxColumns, kChannels = 64;  // at most; at a time
    static constexpr int kPacks = kColumns / 8;
    static constexpr int kLine = 64 + 8;  // elements of a row in shared memory
    static constexpr int kTileSize = 64 * kLine;
    // Of dhidden, hidden and weight, all but one loaded ahead; and of expanded, for two steps or more.
    static constexpr int kStages = 4, kExpanded = 3;
    static constexpr int kSharedBytes = 2 * (3 * kStages + kExpanded) * kTileSize;
    static_assert(kSharedBytes <= kTensorCoreSharedBytes && kRows == 64);
};

// A thread's place in a block of the first convolution, and addresses of its lane's part of the first
// factors. Warps: 4 by 4 over the rows and columns of both results.
struct InputThread {
    using B = InputBlocking;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int row = warp / 4 * 16, column = warp % 4 * 16;
    unsigned right = 2 * column + right_offset(lane, B::kLine),
             left = 2 * row * B::kLine + left_offset(lane, B::kLine),
             left_transposed = 2 * row + left_transposed_offset(lane, B::kLine);

    using Sums = float[2][4];

    // out += G weight, dW += G^T expanded, with G at `stage` and its weight two tiles behind.
    __device__ void multiply(unsigned stage, unsigned expanded, Sums& out, Sums& dW) const {
        const unsigned weight = stage + 2 * 2 * B::kTileSize;
        for (int k = 0; k < kRows; k += 16) {
            unsigned w[2][2], x[2][2], a[4];
            load_right(w[0], w[1], weight + right + 2 * k * B::kLine);
            load_right(x[0], x[1], expanded + right + 2 * k * B::kLine);
            load_left(a, stage + left + 2 * k);
            for (int n = 0; n < 2; ++n) multiply_add(out[n], a, w[n]);
            load_left_transposed(a, stage + left_transposed + 2 * k * B::kLine);
            for (int n = 0; n < 2; ++n) multiply_add(dW[n], a, x[n]);
        }
    }
    // Stores the sums in an array [rows, columns].
    __device__ void store(const Sums& sums, index_t rows, int columns, float* to) const {
        for (int n = 0; n < 2; ++n)
            for (int half = 0; half < 2; ++half) {
                const int r = row + 8 * half + lane / 4, c = column + 8 * n + lane % 4 * 2;
                if (r < rows && c < columns)
                    *reinterpret_cast<float2*>(to + r * columns + c) =
                        float2{sums[n][2 * half], sums[n][2 * half + 1]};
            }
    }
};

// G = dhidden where hidden > 0, else 0: the packs that this thread has copied.
__device__ inline void mask_dhidden(bfloat16* dhidden, const bfloat16* hidden) {
    using B = InputBlocking;
    for (int i = threadIdx.x; i < kRows * B::kPacks; i += B::kThreads) {
        const int at = i / B::kPacks * B::kLine + 8 * (i % B::kPacks);
        auto& d = *reinterpret_cast<Pack<bfloat16>*>(dhidden + at);
        const auto& y = *reinterpret_cast<const Pack<bfloat16>*>(hidden + at);
        for (int j = 0; j < 8; ++j) d.value[j] = relu_gradient(y.value[j], d.value[j]);
    }
}

// kSteps: width / kChannels. partial [parts, width, columns].
template <int kSteps>
__global__ void __launch_bounds__(InputBlocking::kThreads, 1)
    input_conv_backward_kernel(const __grid_constant__ InputConvBackward p, float* __restrict__ partial) {
    using B = InputBlocking;
    extern __shared__ uint4 shared[];
    bfloat16* const memory = reinterpret_cast<bfloat16*>(shared);
    const auto stage_of = [&](int step) { return memory + step % B::kStages * 3 * B::kTileSize; };
    const auto expanded_of = [&](int tile) {
        return memory + (3 * B::kStages + tile % B::kExpanded) * B::kTileSize;
    };

    const int part = blockIdx.x, columns = static_cast<int>(p.columns);
    const TileRange tiles = tiles_of_part(p.rows, part, gridDim.x);
    const int count = tiles.end - tiles.begin, steps = count * kSteps;
    const auto load = [&](int step) {
        if (step >= steps) return commit_copies();  // nothing, to be counted
        const int tile = step / kSteps, channel = step % kSteps * B::kChannels;
        const index_t first = index_t{tiles.begin + tile} * kRows;
        const int rows = static_cast<int>(min(index_t{kRows}, p.rows - first));
        const auto copy = [&](bfloat16* to, const bfloat16* from, index_t line, int present, int packs) {
            copy_rows<B::kThreads, B::kPacks>(to, B::kLine, from, line, present, packs);
        };
        bfloat16* const to = stage_of(step);
        const index_t wide = first * p.width + channel;
        copy(to, p.dhidden + wide, p.width, rows, B::kPacks);
        copy(to + B::kTileSize, p.hidden + wide, p.width, rows, B::kPacks);
        copy(to + 2 * B::kTileSize, p.weight + channel * columns, columns, B::kChannels, columns / 8);
        if (channel == 0) copy(expanded_of(tile), p.expanded + first * columns, columns, rows, columns / 8);
        commit_copies();
    };

    const InputThread thread;
    InputThread::Sums dW[kSteps] = {};
    for (int step = 0; step < B::kStages - 1; ++step) load(step);
    for (int tile = 0; tile < count; ++tile) {
        InputThread::Sums out = {};
#pragma unroll
        for (int chunk = 0; chunk < kSteps; ++chunk) {
            const int step = tile * kSteps + chunk;
            bfloat16* const G = stage_of(step);
            wait_for_copies<B::kStages - 2>();
            mask_dhidden(G, G + B::kTileSize);
            __syncthreads();
            load(step + B::kStages - 1);
            thread.multiply(shared_address(G), shared_address(expanded_of(tile)), out, dW[chunk]);
        }
        const index_t first = index_t{tiles.begin + tile} * kRows;
        thread.store(out, p.rows - first, columns, p.dexpanded + first * columns);
    }
    float* const mine = partial + index_t{part} * p.width * columns;
#pragma unroll
    for (int chunk = 0; chunk < kSteps; ++chunk)
        thread.store(dW[chunk], B::kChannels, columns, mine + chunk * B::kChannels * columns);
}

struct Launch {
    const char* name;
    dim3 grid;
    int threads, shared_bytes;
};
template <class P>
void launch(const Exec& exec, const Launch& l, void (*kernel)(P, float*), const P& p, float* partial) {
    // An error is reported with the launch's.
    static_cast<void>(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, l.shared_bytes));
    kernel<<<l.grid, l.threads, l.shared_bytes, stream_of(exec)>>>(p, partial);
    check_launch(l.name, __FILE__, __LINE__);
}
#endif  // __CUDACC__

// Calls f<kSteps>().
template <class F>
void with_steps(index_t width, F f) {
    if (width == 512) return f.template operator()<8>();
    if (width == 256) return f.template operator()<4>();
    f.template operator()<2>();
}

}  // namespace

bool output_conv_backward_fits(const Exec& exec, index_t taps, index_t width) {
    return exec.tensor_cores && taps % 8 == 0 && taps <= kMaxTaps && width > 0 && width % kSlice == 0;
}
bool input_conv_backward_fits(const Exec& exec, index_t columns, index_t width) {
    return exec.tensor_cores && columns % 8 == 0 && columns <= kMaxColumns &&
           (width == 128 || width == 256 || width == 512);
}

index_t output_conv_backward_scratch(index_t rows, index_t taps, index_t width) {
    return output_parts(rows, width) * (taps + 1) * width;
}
index_t input_conv_backward_scratch(index_t rows, index_t columns, index_t width) {
    return input_parts(rows) * columns * width;
}

void output_conv_backward(const Exec& exec, const OutputConvBackward& p, real* scratch) {
    if (!output_conv_backward_fits(exec, p.taps, p.width))
        throw_error("output_conv_backward: not for " + std::to_string(p.taps) + " taps, " +
                    std::to_string(p.width) + " channels, or this device");
    const int parts = output_parts(p.rows, p.width);
    const double wide = static_cast<double>(p.rows * p.width), narrow = static_cast<double>(p.rows * p.taps);
    if (p.rows > 0 && begin_launch(exec, "output_conv_backward", 2 * (2 * wide + narrow))) {
#if defined(__CUDACC__)
        launch(exec,
               {"output_conv_backward",
                dim3(static_cast<unsigned>(p.width / kSlice), static_cast<unsigned>(parts)),
                OutputBlocking::kThreads, OutputBlocking::kSharedBytes},
               output_conv_backward_kernel, p, scratch);
#endif
    }
    const index_t weights = p.taps * p.width, size = weights + p.width;
    for_each(exec, size,
             SumPartials{size, weights, p.rows > 0 ? parts : 0, scratch, p.accumulate, p.dweight, p.dbias});
}

void input_conv_backward(const Exec& exec, const InputConvBackward& p, real* scratch) {
    if (!input_conv_backward_fits(exec, p.columns, p.width))
        throw_error("input_conv_backward: not for " + std::to_string(p.columns) + " columns, " +
                    std::to_string(p.width) + " channels, or this device");
    const int parts = input_parts(p.rows);
    const double wide = static_cast<double>(p.rows * p.width),
                 narrow = static_cast<double>(p.rows * p.columns);
    if (p.rows > 0 && begin_launch(exec, "input_conv_backward", 2 * 2 * wide + (2 + 4) * narrow)) {
#if defined(__CUDACC__)
        with_steps(p.width, [&]<int kSteps>() {
            launch(exec,
                   {"input_conv_backward", dim3(static_cast<unsigned>(parts)), InputBlocking::kThreads,
                    InputBlocking::kSharedBytes},
                   input_conv_backward_kernel<kSteps>, p, scratch);
        });
#endif
    }
    const index_t size = p.columns * p.width;
    for_each(exec, size,
             SumPartials{size, size, p.rows > 0 ? parts : 0, scratch, p.accumulate, p.dweight, nullptr});
}

}  // namespace glow::inline GLOW_REAL

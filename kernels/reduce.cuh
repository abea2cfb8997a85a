// Reductions of functor values over groups of rows, columns or rows. Reduction trees are fixed, and there are
// no atomics.
#pragma once

#include <algorithm>

#include "kernels/block.cuh"
#include "kernels/reduce.h"

namespace glow::inline GLOW_REAL {

// Combines two partial results: their sum, or the maximum if F::kMaximum.
template <class F>
GLOW_HD inline double combine(double x, double y) {
    if constexpr (F::kMaximum)
        return x > y ? x : y;
    else
        return x + y;
}

// Start of part `i` when `count` items are divided into `parts`.
GLOW_HD inline index_t part_begin(index_t count, index_t parts, index_t i) {
    const index_t quotient = count / parts, remainder = count - quotient * parts;
    return quotient * i + (i < remainder ? i : remainder);
}

#if defined(__CUDACC__)
template <class F>
__global__ void group_sum_kernel(index_t groups, index_t rows, index_t channels, double* partial, F f) {
    __shared__ double sums[kBlockThreads];
    const index_t part = blockIdx.x;
    for (index_t group = blockIdx.y; group < groups; group += gridDim.y) {
        const index_t first = part_begin(rows, kGroupParts, part),
                      last = part_begin(rows, kGroupParts, part + 1);
        double sum = 0;
        for (index_t row = first + threadIdx.y; row < last; row += blockDim.y)
            for (index_t c = threadIdx.x; c < channels; c += blockDim.x)
                sum = combine<F>(sum, f(group, row, c));
        const int me = threadIdx.y * blockDim.x + threadIdx.x;
        sums[me] = sum;
        __syncthreads();
        for (int half = kBlockThreads / 2; half > 0; half /= 2) {
            if (me < half) sums[me] = combine<F>(sums[me], sums[me + half]);
            __syncthreads();
        }
        if (me == 0) partial[group * kGroupParts + part] = sums[0];
        __syncthreads();
    }
}

template <class F, class Finish>
__global__ void finish_groups_kernel(index_t groups, const double* partial, Finish finish) {
    const index_t group = blockIdx.x * index_t{blockDim.x} + threadIdx.x;
    if (group >= groups) return;
    double sum = 0;
#pragma unroll
    for (index_t part = 0; part < kGroupParts; ++part)
        sum = combine<F>(sum, partial[group * kGroupParts + part]);
    finish(group, sum);
}

// One block per row; its threads' sums are added pairwise.
template <class F>
__global__ void row_sum_kernel(index_t rows, index_t columns, F f) {
    __shared__ double sums[kBlockThreads];
    for (index_t row = blockIdx.x; row < rows; row += gridDim.x) {
        double sum = 0;
        for (index_t c = threadIdx.x; c < columns; c += kBlockThreads) sum += f(row, c);
        sums[threadIdx.x] = sum;
        __syncthreads();
        for (int half = kBlockThreads / 2; half > 0; half /= 2) {
            if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
            __syncthreads();
        }
        if (threadIdx.x == 0) f.finish(row, sums[0]);
        __syncthreads();
    }
}
#endif  // __CUDACC__

// Result of load() for functors that read while adding.
struct NothingLoaded {};

// First GPU stage of sum_columns(): block (x, y) sums part y of the rows of some columns, one column per
// lane. The rows of a part are divided among the threads of a lane with kAhead loads in flight: all loads
// precede the first store, which the compiler cannot arrange for functors that overwrite what they read.
// partial: [kColumnParts, kSums, channels].
template <class F>
struct ColumnSums {
    static constexpr const char* name = F::name;
    static constexpr int kThreads = 256, kBlocks = 3, kPhases = 2, kAhead = 4, kMaxLanes = 16;
    using Sum = typename F::Sum;
    struct Locals {};
    index_t rows, channels;
    int lanes;
    double* partial;
    F f;

    double bytes() const { return bytes_of<F>(rows * channels); }
    static constexpr index_t shared_bytes() {
        return F::kSums * kThreads * static_cast<index_t>(sizeof(Sum));
    }

    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals&) const {
        using Loaded = decltype(f.load(0, 0));
        const int row_threads = kThreads / lanes, r = at.thread / lanes;
        const index_t c = index_t{at.x} * lanes + (at.thread - r * lanes);
        const index_t begin = part_begin(rows, kColumnParts, at.y),
                      end = part_begin(rows, kColumnParts, at.y + 1);
        Sum sum[F::kSums] = {};
        index_t row = c < channels ? begin + r : end;
        for (; row + (kAhead - 1) * row_threads < end; row += kAhead * row_threads) {
            Loaded loaded[kAhead];
            for (int k = 0; k < kAhead; ++k) loaded[k] = f.load(row + k * row_threads, c);
            for (int k = 0; k < kAhead; ++k) f(row + k * row_threads, c, loaded[k], sum);
        }
        for (; row < end; row += row_threads) f(row, c, f.load(row, c), sum);
        Sum* const sums = static_cast<Sum*>(at.shared);  // [kSums, kThreads]
        for (int s = 0; s < F::kSums; ++s) sums[s * kThreads + at.thread] = sum[s];
    }
    GLOW_HD void run(Phase<1>, const BlockThread& at, Locals&) const {
        const Sum* const sums = static_cast<const Sum*>(at.shared);
        for (int i = at.thread; i < lanes * F::kSums; i += kThreads) {
            const int s = i / lanes, lane = i - s * lanes;
            const index_t c = index_t{at.x} * lanes + lane;
            double total = 0;
            for (int r = 0; r < kThreads / lanes; ++r) total += sums[s * kThreads + r * lanes + lane];
            if (c < channels) partial[(index_t{at.y} * F::kSums + s) * channels + c] = total;
        }
    }
};

template <Functor F>
void sum_column_parts(const Exec& exec, index_t rows, index_t channels, double* partial, const F& f) {
    int lanes = 4;
    while (lanes < ColumnSums<F>::kMaxLanes && lanes < channels) lanes *= 2;
    const ColumnSums<F> sums{rows, channels, lanes, partial, f};
    run_blocks(exec, {(channels + lanes - 1) / lanes, kColumnParts, sums.shared_bytes()}, sums);
}

// Second stage, finish(column, sums over all parts): kSplit threads per sum, each with kAhead loads in
// flight. partial: [parts, kSums, channels].
template <int kSums, class Finish>
struct FinishColumns {
    static constexpr const char* name = "finish_columns";
    static constexpr int kThreads = 256, kBlocks = 1, kPhases = 2, kSplit = 8, kAhead = 8;
    static constexpr int kColumns = kThreads / (kSplit * kSums) > 0 ? kThreads / (kSplit * kSums)
                                                                    : 1;  // of a block
    struct Locals {};
    index_t parts, channels;
    const double* partial;
    Finish finish;

    BlockGrid grid() const {
        return {(channels + kColumns - 1) / kColumns, 1,
                kSplit * kSums * kColumns * static_cast<index_t>(sizeof(double))};
    }

    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals&) const {
        double* const sums = static_cast<double*>(at.shared);  // [kSplit, kSums, kColumns]
        for (int i = at.thread; i < kSplit * kSums * kColumns; i += kThreads) {
            const int k = i / (kSums * kColumns), s = i / kColumns % kSums;
            const index_t c = index_t{at.x} * kColumns + i % kColumns;
            const index_t end = c < channels ? part_begin(parts, kSplit, k + 1) : 0;
            double sum = 0;
            for (index_t part = part_begin(parts, kSplit, k); part < end; part += kAhead) {
                double ahead[kAhead];
                for (int p = 0; p < kAhead; ++p)
                    ahead[p] = part + p < end ? partial[((part + p) * kSums + s) * channels + c] : 0.0;
                for (int half = kAhead / 2; half > 0; half /= 2)
                    for (int p = 0; p < half; ++p) ahead[p] += ahead[p + half];
                sum += ahead[0];
            }
            sums[i] = sum;
        }
    }
    GLOW_HD void run(Phase<1>, const BlockThread& at, Locals&) const {
        const double* const sums = static_cast<const double*>(at.shared);
        const index_t c = index_t{at.x} * kColumns + at.thread;
        if (at.thread >= kColumns || c >= channels) return;
        double total[kSums];
        for (int s = 0; s < kSums; ++s) {
            total[s] = 0;
            for (int k = 0; k < kSplit; ++k) total[s] += sums[(k * kSums + s) * kColumns + at.thread];
        }
        finish(c, total);
    }
};

template <int kSums, class Finish>
void finish_columns(const Exec& exec, index_t parts, index_t channels, const double* partial,
                    const Finish& finish) {
    const FinishColumns<kSums, Finish> kernel{parts, channels, partial, finish};
    run_blocks(exec, kernel.grid(), kernel);
}

// The host's reduction of f(group, row, channel) over rows [begin, end). Where channels are too few to fill a
// vector, it holds the same channel of 16 rows.
template <Functor F>
double reduce_rows(index_t group, index_t begin, index_t end, index_t channels, const F& f) {
    constexpr index_t kRows = 16, kFewChannels = 32;
    double total = 0;
    index_t row = begin;
    if (channels < kFewChannels && row + kRows <= end) {
        double sum[kRows] = {};
        for (; row + kRows <= end; row += kRows)
            for (index_t c = 0; c < channels; ++c) {
#pragma omp simd
                for (index_t k = 0; k < kRows; ++k) sum[k] = combine<F>(sum[k], f(group, row + k, c));
            }
        for (const double x : sum) total = combine<F>(total, x);
    }
    for (; row < end; ++row) {
        if constexpr (F::kMaximum) {
#pragma omp simd reduction(max : total)
            for (index_t c = 0; c < channels; ++c) total = combine<F>(total, f(group, row, c));
        } else {
#pragma omp simd reduction(+ : total)
            for (index_t c = 0; c < channels; ++c) total += f(group, row, c);
        }
    }
    return total;
}

// Reduction over groups of rows: finish(group, sum of f(group, row, channel)), or the maximum (at least 0) if
// F::kMaximum. f may also write. partial: groups * kGroupParts doubles.
template <Functor F, class Finish>
void reduce_groups(const Exec& exec, index_t groups, index_t rows, index_t channels, double* partial, F f,
                   Finish finish) {
    if (groups <= 0) return;
    begin_launch(exec, f, groups * rows * channels);
    if (!begin_launch(exec, "finish_groups")) return;
#if defined(__CUDACC__)
    if (exec.device == Device::cuda) {
        const dim3 grid(static_cast<unsigned>(kGroupParts),
                        static_cast<unsigned>(std::min<index_t>(groups, 65535)));
        group_sum_kernel<<<grid, row_channel_block(channels), 0, stream_of(exec)>>>(groups, rows, channels,
                                                                                    partial, f);
        check_launch(F::name, __FILE__, __LINE__);
        finish_groups_kernel<F><<<grid_size(groups, kBlockThreads), kBlockThreads, 0, stream_of(exec)>>>(
            groups, partial, finish);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
    const index_t parts = std::clamp<index_t>(rows / 64, 1, kGroupParts);
#pragma omp parallel for num_threads(exec.threads) schedule(static) if (groups * rows * channels > 1024)
    for (index_t task = 0; task < groups * parts; ++task) {
        const index_t group = task / parts, part = task % parts;
        partial[task] =
            reduce_rows(group, part_begin(rows, parts, part), part_begin(rows, parts, part + 1), channels, f);
    }
    for (index_t group = 0; group < groups; ++group) {
        double sum = 0;
        for (index_t part = 0; part < parts; ++part) sum = combine<F>(sum, partial[group * parts + part]);
        finish(group, sum);
    }
}

// Column sums over all rows, F::kSums per channel: f(row, channel, f.load(row, channel), sum[]) adds to sum
// and may overwrite what load() read; finish(channel, sum[]) receives totals in double. Parts of the rows are
// summed in F::Sum. A call of f accesses `work` elements. partial: kColumnParts * F::kSums * channels
// doubles.
template <Functor F, class Finish>
void sum_columns(const Exec& exec, index_t rows, index_t channels, double* partial, F f, Finish finish,
                 index_t work = 1) {
    constexpr int kSums = F::kSums;
    if (exec.tuned_for_gpu()) {
        sum_column_parts(exec, rows, channels, partial, f);
        return finish_columns<kSums>(exec, kColumnParts, channels, partial, finish);
    }
    if (!begin_launch(exec, f, rows * channels)) return;
    using Sum = typename F::Sum;
    Sum* const sums = reinterpret_cast<Sum*>(partial);  // [kColumnParts, kSums, channels]
#pragma omp parallel for num_threads(exec.threads) schedule(static) if (rows * channels * work > 4096)
    for (index_t part = 0; part < kColumnParts; ++part) {
        Sum* const mine = sums + part * kSums * channels;
        std::fill(mine, mine + kSums * channels, Sum{0});
        const index_t last = part_begin(rows, kColumnParts, part + 1);
        for (index_t row = part_begin(rows, kColumnParts, part); row < last; ++row) {
#pragma omp simd
            for (index_t c = 0; c < channels; ++c) {
                Sum sum[kSums] = {};
                f(row, c, f.load(row, c), sum);
                for (int s = 0; s < kSums; ++s) mine[s * channels + c] += sum[s];
            }
        }
    }
    constexpr index_t kRun = 64;  // channels combined together, for contiguous reads
    for (index_t first = 0; first < channels; first += kRun) {
        const index_t count = std::min(kRun, channels - first);
        double totals[kSums][kRun] = {};
        for (index_t part = 0; part < kColumnParts; ++part)
            for (int s = 0; s < kSums; ++s)
                for (index_t c = 0; c < count; ++c)
                    totals[s][c] += sums[(part * kSums + s) * channels + first + c];
        for (index_t c = 0; c < count; ++c) {
            double sum[kSums];
            for (int s = 0; s < kSums; ++s) sum[s] = totals[s][c];
            finish(first + c, sum);
        }
    }
}

// Sums over the columns of every row: f.finish(row, sum of f(row, column)); f may also write.
template <Functor F>
void sum_rows(const Exec& exec, index_t rows, index_t columns, F f) {
    if (rows <= 0 || !begin_launch(exec, f, rows * columns)) return;
#if defined(__CUDACC__)
    if (exec.device == Device::cuda) {
        row_sum_kernel<<<grid_size(rows, 1), kBlockThreads, 0, stream_of(exec)>>>(rows, columns, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel for num_threads(exec.threads) schedule(static) if (rows * columns > 4096)
    for (index_t row = 0; row < rows; ++row) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (index_t c = 0; c < columns; ++c) sum += f(row, c);
        f.finish(row, sum);
    }
}

}  // namespace glow::inline GLOW_REAL

// The drivers that run a functor as an OpenMP loop or as a CUDA kernel. Only .cu files include this header:
// in a CUDA build a .cpp would run the host loop on device pointers.
//
// A functor is a named struct with a GLOW_HD call operator and a `name`. Channels are innermost. No functor
// divides or takes remainders at run time: the drivers hand it every index it needs.
#pragma once

#if defined(GLOW_WITH_CUDA) && !defined(__CUDACC__) && !defined(GLOW_HOST_ONLY)
#error "kernels/launch.cuh is for .cu files only"
#endif

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/base.h"
#include "kernels/error.h"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#endif

namespace glow::inline GLOW_REAL {

// A sum is taken over this many partials whatever the number of threads, so that it repeats bit for bit.
inline constexpr index_t kColumnParts = 64;
inline constexpr index_t kGroupParts = 16;
inline constexpr index_t kMatvecRows = 8;  // rows that row_matvec stages together: one vector of doubles

// What the drivers run. Its name serves errors, traces and benchmarks.
template <class F>
concept Functor = F::name[0] != '\0';

// How two partial results of a reduction become one: their sum, or the larger where F::kMaximum.
template <class F>
GLOW_HD inline double combine(double x, double y) {
    if constexpr (F::kMaximum)
        return x > y ? x : y;
    else
        return x + y;
}

// 16 bytes at once: elements whose address is a multiple of 16.
template <class T>
struct Pack {
    static constexpr index_t kSize = 16 / sizeof(T);
    T value[kSize];
};
template <class T>
GLOW_HD inline Pack<T> load_pack(const T* from) {
    Pack<T> pack;
#if defined(__CUDA_ARCH__)
    const uint4 bits = *reinterpret_cast<const uint4*>(from);
    memcpy(&pack, &bits, sizeof pack);
#else
    memcpy(&pack, from, sizeof pack);
#endif
    return pack;
}
template <class T>
GLOW_HD inline void store_pack(const Pack<T>& pack, T* to) {
#if defined(__CUDA_ARCH__)
    uint4 bits;
    memcpy(&bits, &pack, sizeof pack);
    *reinterpret_cast<uint4*>(to) = bits;
#else
    memcpy(to, &pack, sizeof pack);
#endif
}
// Do packs fit: a GPU (or its rehearsal), lines of whole packs, addresses that are multiples of 16?
template <class T, class... More>
bool packs_fit(const Place& place, index_t line, const T* first, const More*... more) {
    const auto aligned = [](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; };
    return place.tuned_for_gpu() && line % Pack<T>::kSize == 0 && aligned(first) && (aligned(more) && ...);
}

// Start of part `i` of `count` items cut into `parts`.
GLOW_HD inline index_t part_begin(index_t count, index_t parts, index_t i) {
    const index_t quotient = count / parts, remainder = count - quotient * parts;
    return quotient * i + (i < remainder ? i : remainder);
}

#if defined(__CUDACC__)
inline constexpr int kBlockThreads = 256;

inline void check_launch(const char* name, const char* file, int line) {
    const cudaError_t code = cudaGetLastError();
    if (code != cudaSuccess)
        throw_cuda_error(name, static_cast<int>(code), cudaGetErrorString(code), file, line);
}

inline cudaStream_t stream_of(const Place& place) {
    return static_cast<cudaStream_t>(place.stream);
}

// Threads of a block: x over channels (a power of two up to 32), y over rows.
inline dim3 row_channel_block(index_t channels) {
    unsigned x = 1;
    while (x < 32 && x < static_cast<unsigned long long>(channels)) x *= 2;
    return dim3(x, kBlockThreads / x);
}
inline unsigned grid_size(index_t items, index_t per_block) {
    return static_cast<unsigned>(std::clamp<index_t>((items + per_block - 1) / per_block, 1, 1 << 20));
}

template <class F>
__global__ void row_channel_kernel(index_t rows, index_t channels, F f) {
    for (index_t row = blockIdx.x * index_t{blockDim.y} + threadIdx.y; row < rows;
         row += index_t{gridDim.x} * blockDim.y)
        for (index_t c = threadIdx.x; c < channels; c += blockDim.x) f(row, c);
}

template <class F>
__global__ void flat_kernel(index_t count, F f) {
    for (index_t i = blockIdx.x * index_t{blockDim.x} + threadIdx.x; i < count;
         i += index_t{gridDim.x} * blockDim.x)
        f(i);
}

template <class F>
__global__ void image_row_kernel(index_t begin, index_t end, index_t height, index_t width, index_t channels,
                                 F f) {
    for (index_t q = begin + blockIdx.x; q < end; q += gridDim.x) {
        const index_t y = q % height;  // once per image row, not per element
        for (index_t x = threadIdx.y; x < width; x += blockDim.y)
            for (index_t c = threadIdx.x; c < channels; c += blockDim.x) f(q, y, x, c);
    }
}

template <class F>
__global__ void stencil_kernel(index_t begin, index_t end, index_t height, index_t width, index_t channels,
                               F f) {
    for (index_t q = begin + blockIdx.x; q < end; q += gridDim.x) {
        const index_t y = q % height;
        for (index_t x = threadIdx.y; x < width; x += blockDim.y) {
            const unsigned taps = f.taps(q, y, x);
            for (index_t c = threadIdx.x; c < channels; c += blockDim.x) f(q, x, c, taps);
        }
    }
}

template <class F>
__global__ void group_kernel(index_t groups, index_t rows, index_t channels, F f) {
    for (index_t group = blockIdx.y; group < groups; group += gridDim.y)
        for (index_t row = blockIdx.x * index_t{blockDim.y} + threadIdx.y; row < rows;
             row += index_t{gridDim.x} * blockDim.y)
            for (index_t c = threadIdx.x; c < channels; c += blockDim.x) f(group, row, c);
}

template <class F>
__global__ void group_sum_kernel(index_t groups, index_t rows, index_t channels, double* partial, F f) {
    __shared__ double sums[kBlockThreads];
    const index_t part = blockIdx.x;
    for (index_t group = blockIdx.y; group < groups; group += gridDim.y) {
        const index_t first = part_begin(rows, gridDim.x, part), last = part_begin(rows, gridDim.x, part + 1);
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
        if (me == 0) partial[group * gridDim.x + part] = sums[0];
        __syncthreads();
    }
}

template <class F, class Finish>
__global__ void fold_groups_kernel(index_t groups, index_t parts, const double* partial, Finish finish) {
    const index_t group = blockIdx.x * index_t{blockDim.x} + threadIdx.x;
    if (group >= groups) return;
    double sum = 0;
    for (index_t part = 0; part < parts; ++part) sum = combine<F>(sum, partial[group * parts + part]);
    finish(group, sum);
}

// partial: [parts, F::kSums, channels]; blockIdx.y is the part. A part's rows are dealt out to the threads in
// y, whose sums are added pairwise.
template <class F>
__global__ void column_sum_kernel(index_t rows, index_t channels, double* partial, F f) {
    using Sum = typename F::Sum;
    __shared__ Sum sums[F::kSums][kBlockThreads];
    const index_t part = blockIdx.y;
    const index_t c = blockIdx.x * index_t{blockDim.x} + threadIdx.x;
    Sum sum[F::kSums] = {};
    if (c < channels) {
        const index_t end = part_begin(rows, gridDim.y, part + 1);
#pragma unroll 4
        for (index_t row = part_begin(rows, gridDim.y, part) + threadIdx.y; row < end; row += blockDim.y)
            f(row, c, sum);
    }
    const unsigned me = threadIdx.y * blockDim.x + threadIdx.x;
    for (int s = 0; s < F::kSums; ++s) sums[s][me] = sum[s];
    __syncthreads();
    for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
        if (threadIdx.y < half)
            for (int s = 0; s < F::kSums; ++s) sums[s][me] += sums[s][me + half * blockDim.x];
        __syncthreads();
    }
    if (threadIdx.y == 0 && c < channels)
        for (int s = 0; s < F::kSums; ++s) partial[(part * F::kSums + s) * channels + c] = sums[s][me];
}
template <int kSums, class Finish>
__global__ void fold_columns_kernel(index_t parts, index_t channels, const double* partial, Finish finish) {
    const index_t c = blockIdx.x * index_t{blockDim.x} + threadIdx.x;
    if (c >= channels) return;
    double sum[kSums] = {};
    for (index_t part = 0; part < parts; ++part)
        for (int s = 0; s < kSums; ++s) sum[s] += partial[(part * kSums + s) * channels + c];
    finish(c, sum);
}

// The elements of [kRows, n] row by row, kBlockThreads at a time: neighbouring threads touch neighbouring
// elements, and only the first position takes a division.
struct RowWalk {
    int n, row, column, row_step, column_step;
    __device__ explicit RowWalk(int n)
        : n(n),
          row(static_cast<int>(threadIdx.x) / n),
          column(static_cast<int>(threadIdx.x) - row * n),
          row_step(kBlockThreads / n),
          column_step(kBlockThreads - row_step * n) {}
    __device__ void next() {
        row += row_step;
        column += column_step;
        if (column >= n) {
            column -= n;
            ++row;
        }
    }
};

// kRows rows at a time, transposed through shared memory (one element between the lines keeps banks apart):
// in the product a warp's threads have a row each and the coefficient in common.
template <int kRows, class F>
__global__ void row_matvec_kernel(index_t rows, int n_in, int n_out, F f) {
    using T = typename F::Value;
    constexpr int kLine = kRows + 1;
    extern __shared__ double shared_bytes[];
    T* const staged = reinterpret_cast<T*>(shared_bytes);  // [n_in, kLine]
    T* const sums = staged + n_in * kLine;                 // [n_out, kLine]
    for (index_t first = index_t{blockIdx.x} * kRows; first < rows; first += index_t{gridDim.x} * kRows) {
        for (RowWalk at(n_in); at.row < kRows; at.next())
            staged[at.column * kLine + at.row] =
                first + at.row < rows ? f.load(first + at.row, at.column) : T{0};
        __syncthreads();
        const int r = static_cast<int>(threadIdx.x) % kRows;
        for (int o = static_cast<int>(threadIdx.x) / kRows; o < n_out; o += kBlockThreads / kRows) {
            T sum = 0;
            for (int i = 0; i < n_in; ++i) sum += f.coefficient(o, i) * staged[i * kLine + r];
            sums[o * kLine + r] = sum;
        }
        __syncthreads();
        for (RowWalk at(n_out); at.row < kRows; at.next())
            if (first + at.row < rows) f.store(first + at.row, at.column, sums[at.column * kLine + at.row]);
        __syncthreads();
    }
}

// A block a row; its threads' sums are added pairwise.
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

// A thread keeps its columns, and with them what f.columns() says of them, over all its pixels.
template <class F>
__global__ void stencil_columns_kernel(index_t begin, index_t end, index_t height, index_t width,
                                       index_t columns, F f) {
    for (index_t j = threadIdx.x; j < columns; j += blockDim.x) {
        const auto mine = f.columns(j);
        for (index_t q = begin + blockIdx.x; q < end; q += gridDim.x) {
            const index_t y = q % height;
            for (index_t x = threadIdx.y; x < width; x += blockDim.y) f(q, x, j, f.taps(q, y, x), mine);
        }
    }
}
#endif  // __CUDACC__

// f(row, channel) for every row and channel.
template <Functor F>
void for_each_row_channel(const Place& place, index_t rows, index_t channels, F f) {
    if (place.device == Device::none || rows <= 0 || channels <= 0) return;
#if defined(__CUDACC__)
    if (place.device == Device::cuda) {
        const dim3 block = row_channel_block(channels);
        row_channel_kernel<<<grid_size(rows, block.y), block, 0, stream_of(place)>>>(rows, channels, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel for num_threads(place.threads) schedule(static) if (rows * channels > 4096)
    for (index_t row = 0; row < rows; ++row) {
#pragma omp simd
        for (index_t c = 0; c < channels; ++c) f(row, c);
    }
}

// f(i) for 0 <= i < count: flat arrays, or items that touch `work` elements each.
template <Functor F>
void for_each(const Place& place, index_t count, F f, index_t work = 1) {
    if (place.device == Device::none || count <= 0) return;
#if defined(__CUDACC__)
    if (place.device == Device::cuda) {
        flat_kernel<<<grid_size(count, kBlockThreads), kBlockThreads, 0, stream_of(place)>>>(count, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
    if (work > 1) {
#pragma omp parallel for num_threads(place.threads) schedule(static) if (count * work > 16384)
        for (index_t i = 0; i < count; ++i) f(i);
    } else {
#pragma omp parallel for simd num_threads(place.threads) schedule(static) if (count > 16384)
        for (index_t i = 0; i < count; ++i) f(i);
    }
}

// Which of the 3x3 taps of a pixel there are: bit kh * 3 + kw.
inline constexpr unsigned kAllTaps = 0x1ff;

// f(q, x, channel, taps) for image rows q in [begin, end), with taps = f.taps(q, y, x). The host runs pixels
// that have all taps through a loop of their own, where the compiler drops the tests.
template <Functor F>
void for_each_stencil(const Place& place, index_t begin, index_t end, index_t height, index_t width,
                      index_t channels, F f) {
    if (place.device == Device::none || begin >= end || width <= 0 || channels <= 0) return;
#if defined(__CUDACC__)
    if (place.device == Device::cuda) {
        stencil_kernel<<<grid_size(end - begin, 1), row_channel_block(channels), 0, stream_of(place)>>>(
            begin, end, height, width, channels, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel for num_threads(place.threads) \
    schedule(static) if ((end - begin) * width * channels > 4096)
    for (index_t q = begin; q < end; ++q) {
        const index_t y = q % height;
        for (index_t x = 0; x < width; ++x) {
            const unsigned taps = f.taps(q, y, x);
            if (taps == kAllTaps) {
#pragma omp simd
                for (index_t c = 0; c < channels; ++c) f(q, x, c, kAllTaps);
            } else {
#pragma omp simd
                for (index_t c = 0; c < channels; ++c) f(q, x, c, taps);
            }
        }
    }
}

// f(q, y, x, channel) for image rows q in [begin, end) of [N, H, W, C] images, q = n * H + y.
template <Functor F>
void for_each_image_row(const Place& place, index_t begin, index_t end, index_t height, index_t width,
                        index_t channels, F f) {
    if (place.device == Device::none || begin >= end || width <= 0 || channels <= 0) return;
#if defined(__CUDACC__)
    if (place.device == Device::cuda) {
        image_row_kernel<<<grid_size(end - begin, 1), row_channel_block(channels), 0, stream_of(place)>>>(
            begin, end, height, width, channels, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel for num_threads(place.threads) \
    schedule(static) if ((end - begin) * width * channels > 4096)
    for (index_t q = begin; q < end; ++q) {
        const index_t y = q % height;
        for (index_t x = 0; x < width; ++x) {
#pragma omp simd
            for (index_t c = 0; c < channels; ++c) f(q, y, x, c);
        }
    }
}

// f(group, row in group, channel) for every group of rows; a group is an image.
template <Functor F>
void for_each_group(const Place& place, index_t groups, index_t rows, index_t channels, F f) {
    if (place.device == Device::none || groups <= 0 || rows <= 0 || channels <= 0) return;
#if defined(__CUDACC__)
    if (place.device == Device::cuda) {
        const dim3 block = row_channel_block(channels);
        const dim3 grid(grid_size(rows, block.y), static_cast<unsigned>(std::min<index_t>(groups, 65535)));
        group_kernel<<<grid, block, 0, stream_of(place)>>>(groups, rows, channels, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel for collapse(2) num_threads(place.threads) \
    schedule(static) if (groups * rows * channels > 4096)
    for (index_t group = 0; group < groups; ++group)
        for (index_t row = 0; row < rows; ++row) {
#pragma omp simd
            for (index_t c = 0; c < channels; ++c) f(group, row, c);
        }
}

// Reductions over groups of rows: finish(group, sum of f(group, row, channel)), or the maximum (not below 0)
// where F::kMaximum. f may also write. partial: scratch of groups * kGroupParts doubles.
template <Functor F, class Finish>
void reduce_groups(const Place& place, index_t groups, index_t rows, index_t channels, double* partial, F f,
                   Finish finish) {
    if (place.device == Device::none || groups <= 0) return;
#if defined(__CUDACC__)
    if (place.device == Device::cuda) {
        const dim3 grid(static_cast<unsigned>(kGroupParts),
                        static_cast<unsigned>(std::min<index_t>(groups, 65535)));
        group_sum_kernel<<<grid, row_channel_block(channels), 0, stream_of(place)>>>(groups, rows, channels,
                                                                                     partial, f);
        check_launch(F::name, __FILE__, __LINE__);
        fold_groups_kernel<F><<<grid_size(groups, kBlockThreads), kBlockThreads, 0, stream_of(place)>>>(
            groups, kGroupParts, partial, finish);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel for num_threads(place.threads) schedule(static) if (groups * rows * channels > 1024)
    for (index_t task = 0; task < groups * kGroupParts; ++task) {
        const index_t group = task / kGroupParts, part = task % kGroupParts;
        const index_t last = part_begin(rows, kGroupParts, part + 1);
        double sum = 0;
        for (index_t row = part_begin(rows, kGroupParts, part); row < last; ++row) {
            if constexpr (F::kMaximum) {
#pragma omp simd reduction(max : sum)
                for (index_t c = 0; c < channels; ++c) sum = combine<F>(sum, f(group, row, c));
            } else {
#pragma omp simd reduction(+ : sum)
                for (index_t c = 0; c < channels; ++c) sum += f(group, row, c);
            }
        }
        partial[task] = sum;
    }
    for (index_t group = 0; group < groups; ++group) {
        double sum = 0;
        for (index_t part = 0; part < kGroupParts; ++part)
            sum = combine<F>(sum, partial[group * kGroupParts + part]);
        finish(group, sum);
    }
}

// Sums over all rows, F::kSums of them per channel: f(row, channel, sum[]) adds to sum and may also write;
// finish(channel, sum[]) receives the totals in double. A part of the rows is summed in F::Sum. A call of f
// touches `work` elements. partial: scratch of kColumnParts * F::kSums * channels doubles.
template <Functor F, class Finish>
void sum_columns(const Place& place, index_t rows, index_t channels, double* partial, F f, Finish finish,
                 index_t work = 1) {
    if (place.device == Device::none) return;
    constexpr int kSums = F::kSums;
#if defined(__CUDACC__)
    if (place.device == Device::cuda) {
        const dim3 block = row_channel_block(channels);
        const dim3 grid(grid_size(channels, block.x), static_cast<unsigned>(kColumnParts));
        column_sum_kernel<<<grid, block, 0, stream_of(place)>>>(rows, channels, partial, f);
        check_launch(F::name, __FILE__, __LINE__);
        fold_columns_kernel<kSums>
            <<<grid_size(channels, kBlockThreads), kBlockThreads, 0, stream_of(place)>>>(
                kColumnParts, channels, partial, finish);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
    using Sum = typename F::Sum;
    Sum* const sums = reinterpret_cast<Sum*>(partial);  // [kColumnParts, kSums, channels]
#pragma omp parallel for num_threads(place.threads) schedule(static) if (rows * channels * work > 4096)
    for (index_t part = 0; part < kColumnParts; ++part) {
        Sum* const mine = sums + part * kSums * channels;
        std::fill(mine, mine + kSums * channels, Sum{0});
        const index_t last = part_begin(rows, kColumnParts, part + 1);
        for (index_t row = part_begin(rows, kColumnParts, part); row < last; ++row) {
#pragma omp simd
            for (index_t c = 0; c < channels; ++c) {
                Sum sum[kSums] = {};
                f(row, c, sum);
                for (int s = 0; s < kSums; ++s) mine[s * channels + c] += sum[s];
            }
        }
    }
    constexpr index_t kRun = 64;  // channels folded together, so that reads are contiguous
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

#if defined(__CUDACC__)
// As many rows at a time as shared memory holds without being asked for more than its usual size.
template <int kRows, class F>
void launch_row_matvec(const Place& place, index_t rows, index_t n_in, index_t n_out, F f) {
    constexpr index_t kSharedBytes = 48 << 10;
    const index_t bytes = (n_in + n_out) * (kRows + 1) * static_cast<index_t>(sizeof(typename F::Value));
    if (bytes <= kSharedBytes) {
        row_matvec_kernel<kRows>
            <<<grid_size(rows, kRows), kBlockThreads, static_cast<std::size_t>(bytes), stream_of(place)>>>(
                rows, static_cast<int>(n_in), static_cast<int>(n_out), f);
        check_launch(F::name, __FILE__, __LINE__);
    } else if constexpr (kRows > 1) {
        launch_row_matvec<kRows / 2>(place, rows, n_in, n_out, f);
    } else {
        throw_error(std::string(F::name) + ": " + std::to_string(n_in) + " channels are too many for a GPU");
    }
}
#endif

// Sums over the columns of every row: f.finish(row, sum of f(row, column)); f may also write.
template <Functor F>
void sum_rows(const Place& place, index_t rows, index_t columns, F f) {
    if (place.device == Device::none || rows <= 0) return;
#if defined(__CUDACC__)
    if (place.device == Device::cuda) {
        row_sum_kernel<<<grid_size(rows, 1), kBlockThreads, 0, stream_of(place)>>>(rows, columns, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel for num_threads(place.threads) schedule(static) if (rows * columns > 4096)
    for (index_t row = 0; row < rows; ++row) {
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (index_t c = 0; c < columns; ++c) sum += f(row, c);
        f.finish(row, sum);
    }
}

// f(q, x, j, taps, f.columns(j)) for image rows q in [begin, end) and j < columns: what follows from a column
// alone is worked out once, not at every pixel.
template <Functor F>
void for_each_stencil_columns(const Place& place, index_t begin, index_t end, index_t height, index_t width,
                              index_t columns, F f) {
    if (place.device == Device::none || begin >= end || width <= 0 || columns <= 0) return;
#if defined(__CUDACC__)
    if (place.device == Device::cuda) {
        stencil_columns_kernel<<<grid_size(end - begin, 1), row_channel_block(columns), 0,
                                 stream_of(place)>>>(begin, end, height, width, columns, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel for num_threads(place.threads) schedule(static)
    for (index_t j = 0; j < columns; ++j) {
        const auto mine = f.columns(j);
        for (index_t q = begin; q < end; ++q)
            for (index_t x = 0; x < width; ++x) f(q, x, j, f.taps(q, q % height, x), mine);
    }
}

// Per row: store(row, o, sum over i of coefficient(o, i) * load(row, i)), in place allowed: rows are staged,
// kMatvecRows at a time, transposed, so that the host's inner loop is one vector wide whatever n_in is.
template <Functor F>
void row_matvec(const Place& place, index_t rows, index_t n_in, index_t n_out, F f) {
    using T = typename F::Value;
    if (place.device == Device::none) return;
#if defined(__CUDACC__)
    if (place.device == Device::cuda) {
        launch_row_matvec<32>(place, rows, n_in, n_out, f);
        return;
    }
#endif
    constexpr index_t R = kMatvecRows;
#pragma omp parallel num_threads(place.threads) if (rows * n_in > 1024)
    {
        std::vector<T> staging(static_cast<std::size_t>(n_in * R));
        T* const staged = staging.data();
#pragma omp for schedule(static)
        for (index_t block = 0; block < (rows + R - 1) / R; ++block) {
            const index_t first = block * R;
            const index_t count = std::min(R, rows - first);
            for (index_t r = 0; r < R; ++r) {
                if (r < count)
                    for (index_t i = 0; i < n_in; ++i) staged[i * R + r] = f.load(first + r, i);
                else
                    for (index_t i = 0; i < n_in; ++i) staged[i * R + r] = T{0};
            }
            constexpr index_t O = 4;  // outputs at once: independent accumulators hide the latency of the FMA
            for (index_t o = 0; o < n_out; o += O) {
                T sum[O][R] = {};
                const index_t outputs = std::min(O, n_out - o);
                if (outputs == O) {
                    for (index_t i = 0; i < n_in; ++i)
                        for (index_t k = 0; k < O; ++k) {
                            const T m = f.coefficient(o + k, i);
#pragma omp simd
                            for (index_t r = 0; r < R; ++r) sum[k][r] += m * staged[i * R + r];
                        }
                } else {
                    for (index_t k = 0; k < outputs; ++k)
                        for (index_t i = 0; i < n_in; ++i) {
                            const T m = f.coefficient(o + k, i);
#pragma omp simd
                            for (index_t r = 0; r < R; ++r) sum[k][r] += m * staged[i * R + r];
                        }
                }
                for (index_t k = 0; k < outputs; ++k)
                    for (index_t r = 0; r < count; ++r) f.store(first + r, o + k, sum[k][r]);
            }
        }
    }
}

}  // namespace glow::inline GLOW_REAL

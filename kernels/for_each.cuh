// Drivers that call a functor for every element: of flat arrays, rows and channels, groups of rows, images,
// or rows of different shapes.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/launch.cuh"

namespace glow::inline GLOW_REAL {

#if defined(__CUDACC__)
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
__global__ void group_kernel(index_t groups, index_t rows, index_t channels, F f) {
    for (index_t group = blockIdx.y; group < groups; group += gridDim.y)
        for (index_t row = blockIdx.x * index_t{blockDim.y} + threadIdx.y; row < rows;
             row += index_t{gridDim.x} * blockDim.y)
            for (index_t c = threadIdx.x; c < channels; c += blockDim.x) f(group, row, c);
}
#endif  // __CUDACC__

// Maps index `at` over all rows to group, item and row. One division per row.
template <class F>
GLOW_HD auto row_at(const F& f, index_t at) {
    int group = 0;
    while (at >= f.items(group) * f.rows(group)) at -= f.items(group) * f.rows(group), ++group;
    const auto rows = static_cast<std::uint32_t>(f.rows(group));
    const auto item = static_cast<std::uint32_t>(at) / rows;
    return f.row(group, item, static_cast<std::uint32_t>(at) - item * rows);
}

#if defined(__CUDACC__)
// One warp per row; values shared by a row's elements are computed once per thread.
template <class F>
__global__ void __launch_bounds__(kBlockThreads) rows_kernel(index_t count, const __grid_constant__ F f) {
    for (index_t at = blockIdx.x * index_t{blockDim.y} + threadIdx.y; at < count;
         at += index_t{gridDim.x} * blockDim.y) {
        const auto row = row_at(f, at);
        const index_t packs = row.packs();
        for (index_t pack = threadIdx.x; pack < packs; pack += blockDim.x) row.pack(pack);
        for (index_t k = packs * row.kSize + threadIdx.x; k < row.length; k += blockDim.x) row(k);
        if (threadIdx.x == 0) row.finish();
    }
}
#endif  // __CUDACC__

// f(row, channel) for every row and channel.
template <Functor F>
void for_each_row_channel(const Exec& exec, index_t rows, index_t channels, F f) {
    if (rows <= 0 || channels <= 0 || !begin_launch(exec, f, rows * channels)) return;
#if defined(__CUDACC__)
    if (exec.device == Device::cuda) {
        const dim3 block = row_channel_block(channels);
        row_channel_kernel<<<grid_size(rows, block.y), block, 0, stream_of(exec)>>>(rows, channels, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel for num_threads(exec.threads) schedule(static) if (rows * channels > 4096)
    for (index_t row = 0; row < rows; ++row) {
#pragma omp simd
        for (index_t c = 0; c < channels; ++c) f(row, c);
    }
}

// f(i) for 0 <= i < count: flat arrays, or items that access `work` elements each.
template <Functor F>
void for_each(const Exec& exec, index_t count, F f, index_t work = 1) {
    if (count <= 0 || !begin_launch(exec, f, count)) return;
#if defined(__CUDACC__)
    if (exec.device == Device::cuda) {
        flat_kernel<<<grid_size(count, kBlockThreads), kBlockThreads, 0, stream_of(exec)>>>(count, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
    if (work > 1) {
#pragma omp parallel for num_threads(exec.threads) schedule(static) if (count * work > 16384)
        for (index_t i = 0; i < count; ++i) f(i);
    } else {
#pragma omp parallel for simd num_threads(exec.threads) schedule(static) if (count > 16384)
        for (index_t i = 0; i < count; ++i) f(i);
    }
}

// f(q, y, x, channel) for image rows q in [begin, end) of [N, H, W, C] images, q = n * H + y.
template <Functor F>
void for_each_image_row(const Exec& exec, index_t begin, index_t end, index_t height, index_t width,
                        index_t channels, F f) {
    if (begin >= end || width <= 0 || channels <= 0 ||
        !begin_launch(exec, f, (end - begin) * width * channels))
        return;
#if defined(__CUDACC__)
    if (exec.device == Device::cuda) {
        image_row_kernel<<<grid_size(end - begin, 1), row_channel_block(channels), 0, stream_of(exec)>>>(
            begin, end, height, width, channels, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel for num_threads(exec.threads) \
    schedule(static) if ((end - begin) * width * channels > 4096)
    for (index_t q = begin; q < end; ++q) {
        const index_t y = q % height;
        for (index_t x = 0; x < width; ++x) {
#pragma omp simd
            for (index_t c = 0; c < channels; ++c) f(q, y, x, c);
        }
    }
}

// f(group, row in group, channel) for every row of every group; a group is an image.
template <Functor F>
void for_each_group(const Exec& exec, index_t groups, index_t rows, index_t channels, F f) {
    if (groups <= 0 || rows <= 0 || channels <= 0 || !begin_launch(exec, f, groups * rows * channels)) return;
#if defined(__CUDACC__)
    if (exec.device == Device::cuda) {
        const dim3 block = row_channel_block(channels);
        const dim3 grid(grid_size(rows, block.y), static_cast<unsigned>(std::min<index_t>(groups, 65535)));
        group_kernel<<<grid, block, 0, stream_of(exec)>>>(groups, rows, channels, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel for collapse(2) num_threads(exec.threads) \
    schedule(static) if (groups * rows * channels > 4096)
    for (index_t group = 0; group < groups; ++group)
        for (index_t row = 0; row < rows; ++row) {
#pragma omp simd
            for (index_t c = 0; c < channels; ++c) f(group, row, c);
        }
}

// Processes every row of every item in groups of different shapes: row = f.row(group, item, row in item),
// then row(k) for 0 <= k < row.length, then row.finish() once. Sizes: f.groups(), f.items(group),
// f.rows(group) per item. On a GPU, the first row.packs() * row.kSize elements are processed kSize at a time
// by row.pack(i).
template <Functor F>
void for_each_row(const Exec& exec, const F& f) {
    index_t count = 0;
    for (int group = 0; group < f.groups(); ++group) {
        const index_t rows = f.items(group) * f.rows(group);
        if (rows > std::numeric_limits<std::uint32_t>::max()) throw Error("too many rows for one kernel");
        count += rows;
    }
    if (count == 0 || !begin_launch(exec, f)) return;
#if defined(__CUDACC__)
    if (exec.device == Device::cuda) {
        const dim3 block(32, kBlockThreads / 32);
        rows_kernel<<<grid_size(count, block.y), block, 0, stream_of(exec)>>>(count, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel for num_threads(exec.threads) schedule(static) if (count > 64)
    for (index_t at = 0; at < count; ++at) {
        const auto row = row_at(f, at);
        const index_t packs = exec.tuned_for_gpu() ? row.packs() : 0;
        for (index_t pack = 0; pack < packs; ++pack) row.pack(pack);
#pragma omp simd
        for (index_t k = packs * row.kSize; k < row.length; ++k) row(k);
        row.finish();
    }
}

}  // namespace glow::inline GLOW_REAL

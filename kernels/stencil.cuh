// A functor for every element of images that reads, or adds up, the 3x3 pixels around it: it is told which of
// these there are.
#pragma once

#include "kernels/launch.cuh"

namespace glow::inline GLOW_REAL {

#if defined(__CUDACC__)
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

// Which of the 3x3 taps of a pixel there are: bit kh * 3 + kw.
inline constexpr unsigned kAllTaps = 0x1ff;

// f(q, x, channel, taps) for image rows q in [begin, end), with taps = f.taps(q, y, x). The host runs pixels
// that have all taps through a loop of their own, where the compiler drops the tests.
template <Functor F>
void for_each_stencil(const Exec& exec, index_t begin, index_t end, index_t height, index_t width,
                      index_t channels, F f) {
    if (exec.device == Device::count_only || begin >= end || width <= 0 || channels <= 0) return;
#if defined(__CUDACC__)
    if (exec.device == Device::cuda) {
        stencil_kernel<<<grid_size(end - begin, 1), row_channel_block(channels), 0, stream_of(exec)>>>(
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

// f(q, x, j, taps, f.columns(j)) for image rows q in [begin, end) and j < columns: what follows from a column
// alone is worked out once, not at every pixel.
template <Functor F>
void for_each_stencil_columns(const Exec& exec, index_t begin, index_t end, index_t height, index_t width,
                              index_t columns, F f) {
    if (exec.device == Device::count_only || begin >= end || width <= 0 || columns <= 0) return;
#if defined(__CUDACC__)
    if (exec.device == Device::cuda) {
        stencil_columns_kernel<<<grid_size(end - begin, 1), row_channel_block(columns), 0,
                                 stream_of(exec)>>>(begin, end, height, width, columns, f);
        check_launch(F::name, __FILE__, __LINE__);
        return;
    }
#endif
#pragma omp parallel for num_threads(exec.threads) schedule(static)
    for (index_t j = 0; j < columns; ++j) {
        const auto mine = f.columns(j);
        for (index_t q = begin; q < end; ++q)
            for (index_t x = 0; x < width; ++x) f(q, x, j, f.taps(q, q % height, x), mine);
    }
}

}  // namespace glow::inline GLOW_REAL

// Calls a functor for every element of an image, with a mask of which of the 3x3 neighboring pixels exist.
#pragma once

#include <type_traits>

#include "kernels/block.cuh"
#include "kernels/taps.h"

namespace glow::inline GLOW_REAL {

// On a GPU, a block processes a tile of image rows, full width or kTileWidth pixels; a thread iterates over
// the channels of pixels.
template <class F>
struct StencilTile {
    static constexpr const char* name = F::name;
    static constexpr int kThreads = 256, kBlocks = 4, kPhases = 1;
    static constexpr index_t kTileWidth = 16, kTileItems = 1024;
    struct Locals {};
    index_t begin, end;
    int first_y, height, width, tile_rows;
    Divisor tile_width, channels, image_rows;
    F f;

    static StencilTile fit(index_t begin, index_t end, index_t height, index_t width, index_t channels,
                           const F& f) {
        const index_t tile_width = std::min(width, kTileWidth);
        const index_t tile_rows = std::clamp<index_t>(kTileItems / (tile_width * channels), 1, end - begin);
        return {begin,
                end,
                static_cast<int>(begin % height),
                static_cast<int>(height),
                static_cast<int>(width),
                static_cast<int>(tile_rows),
                Divisor(tile_width),
                Divisor(channels),
                Divisor(height),
                f};
    }
    double bytes() const { return bytes_of<F>((end - begin) * width * channels.divisor); }
    BlockGrid grid() const {
        return {(end - begin + tile_rows - 1) / tile_rows,
                (width + tile_width.divisor - 1) / tile_width.divisor, 0};
    }
    // y modulo the height of an image, for 0 <= y < height + kTileItems.
    GLOW_HD int image_row(int y) const {
        constexpr int kDivisible = 1 << 15;  // see Divisor
        if (height > kDivisible) return y < height ? y : y - height;
        return y - image_rows.quotient(y) * height;
    }
    GLOW_HD void run(Phase<0>, const BlockThread& at, Locals&) const {
        const int row0 = at.x * tile_rows, x0 = at.y * tile_width.divisor, y0 = (first_y + row0) % height;
        for (int i = at.thread; i < tile_rows * tile_width.divisor * channels.divisor; i += kThreads) {
            const int p = channels.quotient(i), r = tile_width.quotient(p),
                      x = x0 + p - r * tile_width.divisor;
            const index_t q = begin + row0 + r;
            if (q < end && x < width) f(q, x, i - p * channels.divisor, f.taps(q, image_row(y0 + r), x));
        }
    }
};

// Calls loop(channels). The numbers of channels in the levels of a color image are passed as compile-time
// constants: loops shorter than a vector are fast only if the compiler knows their length.
template <class Loop>
void with_channels(index_t channels, const Loop& loop) {
    switch (channels) {
        case 6:
            return loop(std::integral_constant<index_t, 6>{});
        case 12:
            return loop(std::integral_constant<index_t, 12>{});
        case 24:
            return loop(std::integral_constant<index_t, 24>{});
        default:
            return loop(channels);
    }
}

// f(q, x, channel, taps) for image rows q in [begin, end), with taps = f.taps(q, y, x). The host processes
// pixels with all taps in a separate loop, where the compiler removes the tests.
template <Functor F>
void for_each_stencil(const Exec& exec, index_t begin, index_t end, index_t height, index_t width,
                      index_t channels, F f) {
    if (begin >= end || width <= 0 || channels <= 0) return;
    if (exec.tuned_for_gpu()) {
        const auto tile = StencilTile<F>::fit(begin, end, height, width, channels, f);
        return run_blocks(exec, tile.grid(), tile);
    }
    if (!begin_launch(exec, f, (end - begin) * width * channels)) return;
    with_channels(channels, [&](auto C) {
#pragma omp parallel for num_threads(exec.threads) schedule(static) if ((end - begin) * width * C > 4096)
        for (index_t q = begin; q < end; ++q) {
            const index_t y = q % height;
            for (index_t x = 0; x < width; ++x) {
                const unsigned taps = f.taps(q, y, x);
                if (taps == kAllTaps) {
#pragma omp simd
                    for (index_t c = 0; c < C; ++c) f(q, x, c, kAllTaps);
                } else {
#pragma omp simd
                    for (index_t c = 0; c < C; ++c) f(q, x, c, taps);
                }
            }
        }
    });
}

}  // namespace glow::inline GLOW_REAL

// 3x3 convolutions as matrix products. The map with few channels is expanded to its nine taps (im2col) or
// summed from them (col2im); the wide map is never expanded. Works on blocks of image rows to bound the
// expanded map. Map is the storage type of the wide map and the weights: real or bfloat16.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "kernels/convolution.h"
#include "kernels/narrow_conv_backward.h"
#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

// Calls f(ImageRows) for consecutive blocks of N images H x W. whole_images: blocks end only between images.
template <class F>
void for_each_block(const Context& context, index_t H, index_t W, index_t N, F f, bool whole_images = false) {
    index_t step = std::max<index_t>(1, context.blocking.block_pixels / W);
    if (whole_images) step = std::max<index_t>(1, step / H) * H;
    const index_t rows = N * H;
    for (index_t begin = 0; begin < rows; begin = next_block(context.skips_blocks(), begin, step, rows))
        f(ImageRows{H, W, begin, std::min(begin + step, rows)});
}

// Pixels of the largest of these blocks.
inline index_t largest_block(const Context& context, index_t H, index_t W, index_t N, bool whole_images) {
    index_t pixels = 0;
    for_each_block(
        context, H, W, N, [&](const ImageRows& block) { pixels = std::max(pixels, block.pixels()); },
        whole_images);
    return pixels;
}

// With fewer pixels the library's products and separate kernels are as fast as
// kernels/narrow_conv_backward.h.
inline constexpr index_t kFusedPixels = 16384;

// Scratch of a fused kernel. At least the scratch of the GEMMs that replace the kernel below kFusedPixels:
// the plan is made for the full batch, and a smaller last batch must fit into it.
inline real* fused_scratch(const Context& context, index_t count, std::initializer_list<Gemm> replaced) {
    std::size_t bytes = static_cast<std::size_t>(count) * sizeof(real);
    for (const Gemm& gemm : replaced) bytes = std::max(bytes, context.blas.scratch_bytes(gemm));
    return static_cast<real*>(context.workspace.take_bytes(bytes));
}

// The state at all pixels; a convolution reads its first channels.
struct StatePixels {
    const state_t* values;
    index_t stride;  // elements per pixel

    StatePixels from(index_t pixel) const { return {values + pixel * stride, stride}; }
};

struct WeightGradient {
    real* values;
    bool accumulate;  // values += instead of =
};

// Few inputs: y = columns(x) W^T, columns(x) [pixels, columns.stride]. W [outputs, columns.stride] has the
// bias in the column of ones.
struct NarrowInputConv {
    Columns columns;
    index_t outputs;
    Scalar operands;  // type of the products' operands: that of Map, or tf32

    static Columns layout(index_t inputs, bool edge) {
        return {inputs, edge, true, round_up(9 * (inputs + (edge ? 1 : 0)) + 1, 8)};
    }

    // Overwrites y [block pixels, outputs], including the epilogue. Writes columns(x) to `expanded` unless
    // nullptr.
    template <class Map, class Out>
    void forward(const Context& context, const ImageRows& block, const StatePixels& x, const Map* weight,
                 Epilogue epilogue, Out* y, Map* expanded = nullptr) const {
        const Arena::Scope scope(context.workspace);
        if (expanded == nullptr)
            expanded = expand<Map>(context, block, x);
        else
            im2col(context.exec, block, columns, Taps::direct, x.values, x.stride, expanded);
        context.gemm(
            gemm_nt(block.pixels(), outputs, columns.stride, operands, scalar_of<Out>).with(epilogue),
            expanded, weight, y);
    }

    // What backward() of a block reads and writes.
    template <class Map>
    struct Backward {
        StatePixels x;
        const Map* weight;
        const Map* dy;           // [block pixels, outputs]
        WeightGradient dweight;  // = or += dy^T columns(x)
        real* dx;                // += col2im(dy W) unless nullptr; all images, x.stride elements per pixel
        const Map* expanded = nullptr;  // columns(x) from forward(); nullptr: computes them again
    };
    template <class Map>
    void backward(const Context& context, const ImageRows& block, const Backward<Map>& given) const {
        const index_t pixels = block.pixels();
        const auto& [x, weight, dy, dweight, dx, saved] = given;
        {
            const Arena::Scope scope(context.workspace);
            const Map* const expanded = saved != nullptr ? saved : expand<Map>(context, block, x);
            context.gemm(weight_gemm(pixels, dweight.accumulate), dy, expanded, dweight.values);
        }
        if (dx == nullptr) return;
        const Arena::Scope scope(context.workspace);
        real* const dexpanded = context.workspace.take<real>(pixels * columns.stride);
        context.gemm(data_gemm(pixels), dy, weight, dexpanded);
        col2im(context.exec, block, columns, Taps::mirrored, dexpanded, dx, x.stride);
    }

    // The same in one kernel, including the gradient of the ReLU that follows: y is the ReLU's result, dy its
    // gradient.
    bool fuses_relu(const Exec& exec, index_t pixels) const {
        return pixels >= kFusedPixels && input_conv_backward_fits(exec, columns.stride, outputs);
    }
    void backward_of_relu(const Context& context, const ImageRows& block, const bfloat16* y,
                          const Backward<bfloat16>& given) const {
        Arena& arena = context.workspace;
        const Arena::Scope scope(arena);
        const index_t pixels = block.pixels();
        const auto& [x, weight, dy, dweight, dx, saved] = given;
        const bfloat16* const expanded = saved != nullptr ? saved : expand<bfloat16>(context, block, x);
        real* const dexpanded = arena.take<real>(pixels * columns.stride);
        real* const scratch =
            fused_scratch(context, input_conv_backward_scratch(pixels, columns.stride, outputs),
                          {weight_gemm(kFusedPixels - 1, true), data_gemm(kFusedPixels - 1)});
        input_conv_backward(context.exec,
                            {.rows = pixels,
                             .columns = columns.stride,
                             .width = outputs,
                             .hidden = y,
                             .dhidden = dy,
                             .expanded = expanded,
                             .weight = weight,
                             .dexpanded = dexpanded,
                             .accumulate = dweight.accumulate,
                             .dweight = dweight.values},
                            scratch);
        if (dx != nullptr) col2im(context.exec, block, columns, Taps::mirrored, dexpanded, dx, x.stride);
    }

  private:
    // The GEMMs of backward(): of dweight and of columns(dx).
    Gemm weight_gemm(index_t pixels, bool accumulate) const {
        return gemm_tn(outputs, columns.stride, pixels, operands, scalar_of<real>).adding(accumulate);
    }
    Gemm data_gemm(index_t pixels) const {
        return gemm_nn(pixels, columns.stride, outputs, operands, scalar_of<real>);
    }
    // columns(x) in scratch.
    template <class Map>
    Map* expand(const Context& context, const ImageRows& block, const StatePixels& x) const {
        Map* const expanded = context.workspace.take<Map>(block.pixels() * columns.stride);
        im2col(context.exec, block, columns, Taps::direct, x.values, x.stride, expanded);
        return expanded;
    }
};

// Few outputs: y = col2im(x W^T), without bias and edge channel. W [columns.stride, inputs].
struct NarrowOutputConv {
    Columns columns;
    index_t inputs;
    Scalar operands;

    static Columns layout(index_t outputs) { return {outputs, false, false, round_up(9 * outputs, 8)}; }

    // y += the block's contribution, all images [N*H*W, outputs]. x [block pixels, inputs].
    template <class Map>
    void forward(const Context& context, const ImageRows& block, const Map* x, const Map* weight,
                 real* y) const {
        const Arena::Scope scope(context.workspace);
        real* const taps = context.workspace.take<real>(block.pixels() * columns.stride);
        forward_taps(context, block.pixels(), x, weight, taps);
        col2im(context.exec, block, columns, Taps::direct, taps, y, columns.C);
    }
    // taps [pixels, columns.stride] = x W^T: what col2im adds up.
    template <class Map>
    void forward_taps(const Context& context, index_t pixels, const Map* x, const Map* weight,
                      real* taps) const {
        context.gemm(gemm_nt(pixels, columns.stride, inputs, operands, scalar_of<real>), x, weight, taps);
    }

    // dweight = or += columns(dy)^T x, dx = columns(dy) W. dy: all images [N*H*W, outputs]; x, dx [block
    // pixels, inputs].
    template <class Map>
    void backward(const Context& context, const ImageRows& block, const Map* x, const Map* weight,
                  const real* dy, const WeightGradient& dweight, Map* dx) const {
        const Arena::Scope scope(context.workspace);
        const index_t pixels = block.pixels();
        Map* const dtaps = context.workspace.take<Map>(pixels * columns.stride);
        im2col(context.exec, block, columns, Taps::mirrored, dy, columns.C, dtaps);
        backward_taps<Map>(context, pixels, {x, weight, dtaps, dweight, dx});
    }
    // The same from dtaps = columns(dy).
    template <class Map>
    struct BackwardTaps {
        const Map* x;  // [pixels, inputs]
        const Map* weight;
        const Map* dtaps;        // [pixels, columns.stride]
        WeightGradient dweight;  // = or += dtaps^T x
        Map* dx;                 // [pixels, inputs] = dtaps W
    };
    template <class Map>
    void backward_taps(const Context& context, index_t pixels, const BackwardTaps<Map>& given) const {
        const auto& [x, weight, dtaps, dweight, dx] = given;
        context.gemm(weight_gemm(pixels, dweight.accumulate), dtaps, x, dweight.values);
        context.gemm(data_gemm<Map>(pixels), dtaps, weight, dx);
    }

    // The same in one kernel, including the gradient of the ReLU before: x is the ReLU's result, dx the
    // gradient of its argument, and dbias = or += (as dweight) the sum of dx over pixels.
    bool fuses_relu(const Exec& exec, index_t pixels) const {
        return pixels >= kFusedPixels && output_conv_backward_fits(exec, columns.stride, inputs);
    }
    void backward_taps_and_relu(const Context& context, index_t pixels, const BackwardTaps<bfloat16>& given,
                                real* dbias) const {
        const auto& [x, weight, dtaps, dweight, dx] = given;
        const Arena::Scope scope(context.workspace);
        real* const scratch =
            fused_scratch(context, output_conv_backward_scratch(pixels, columns.stride, inputs),
                          {weight_gemm(kFusedPixels - 1, true), data_gemm<bfloat16>(kFusedPixels - 1)});
        output_conv_backward(context.exec,
                             {.rows = pixels,
                              .taps = columns.stride,
                              .width = inputs,
                              .dtaps = dtaps,
                              .weight = weight,
                              .hidden = x,
                              .dhidden = dx,
                              .accumulate = dweight.accumulate,
                              .dweight = dweight.values,
                              .dbias = dbias},
                             scratch);
    }

  private:
    // The GEMMs of backward_taps(): of dweight and of dx.
    Gemm weight_gemm(index_t pixels, bool accumulate) const {
        return gemm_tn(columns.stride, inputs, pixels, operands, scalar_of<real>).adding(accumulate);
    }
    template <class Map>
    Gemm data_gemm(index_t pixels) const {
        return gemm_nn(pixels, inputs, columns.stride, operands, scalar_of<Map>);
    }
};

}  // namespace glow::inline GLOW_REAL

// The last convolution of a coupling network by a vendor's library (Context::convolve) instead of matrix
// products. Like NarrowOutputConv (layers/conv3x3.h), it has neither bias nor edge channel.
#pragma once

#include <type_traits>

#include "kernels/actnorm_fold.h"
#include "kernels/elementwise.h"
#include "layers/conv3x3.h"

namespace glow::inline GLOW_REAL {

// Blocks are whole images. W has the order TapOrder::outputs_first.
template <class Map>
struct LibraryOutputConv {
    index_t H, W;
    index_t inputs, outputs;
    bool edge;  // the parameter has an edge channel, which the convolution leaves out
    Scalar operands;

    // Whether the library has the convolution and both of its gradients for a block.
    bool can_run(const Context& context, const ImageRows& block) const {
        bool all = true;
        for (const auto pass : {Convolution::Pass::forward, Convolution::Pass::data_gradient,
                                Convolution::Pass::weight_gradient})
            all = all && context.conv->has(convolution(pass, block));
        return all;
    }

    // Overwrites the block's pixels of y, all images [N*H*W, outputs]. x [block pixels, inputs].
    void forward(const Context& context, const ImageRows& block, const Map* x, const void* weight,
                 real* y) const {
        context.convolve(convolution(Convolution::Pass::forward, block), x, weight,
                         y + block.begin * W * outputs);
    }

    // dparameter += the gradient of W, in the parameter's layout; dx = that of x. dy: all images; x, dx
    // [block pixels, inputs].
    void backward(const Context& context, const ImageRows& block, const Map* x, const void* weight,
                  const real* dy, real* dparameter, Map* dx) const {
        Arena& arena = context.workspace;
        const Arena::Scope scope(arena);
        const index_t count = block.pixels() * outputs;
        const real* const dblock = dy + block.begin * W * outputs;
        const void* rounded_dy = dblock;
        if constexpr (!std::is_same_v<Map, real>) {
            Map* const rounded = arena.take<Map>(count);
            cast(context.exec, count, dblock, rounded);
            rounded_dy = rounded;
        }
        real* const dweight = arena.take<real>(9 * outputs * inputs);
        context.convolve(convolution(Convolution::Pass::weight_gradient, block), x, rounded_dy, dweight);
        unfold_network(context.exec, {.conv3 = {.C = outputs,
                                                .w = inputs,
                                                .edge = edge,
                                                .order = TapOrder::outputs_first,
                                                .dpacked = dweight,
                                                .sums = nullptr,
                                                .N = 0,
                                                .dW = dparameter,
                                                .dbias = nullptr,
                                                .dlogs = nullptr}});
        context.convolve(convolution(Convolution::Pass::data_gradient, block), rounded_dy, weight, dx);
    }

  private:
    Convolution convolution(Convolution::Pass pass, const ImageRows& block) const {
        const bool wide = pass == Convolution::Pass::data_gradient;
        return {.pass = pass,
                .N = (block.end - block.begin) / H,
                .H = H,
                .W = W,
                .in = inputs,
                .out = outputs,
                .operands = operands,
                .result = wide ? scalar_of<Map> : scalar_of<real>};
    }
};

}  // namespace glow::inline GLOW_REAL

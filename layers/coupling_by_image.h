// A coupling and the last convolution of its network on a GPU: kernels with a thread block per image compute
// the coupling from the convolution's taps (kernels/coupling_by_image.h). Forward writes the network's output
// to memory only if it is saved, and backward never writes its gradient.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/coupling_by_image.h"
#include "layers/coupling_network.h"

namespace glow::inline GLOW_REAL {

// run_hidden(block): computes the hidden maps of a block of whole images and returns the second, h2.
template <class Map>
struct CouplingByImage {
    CouplingForm form;
    index_t H, W;
    NarrowOutputConv conv;
    const Map* weight;        // of conv
    const real* edge_weight;  // these four as in CouplingImages
    index_t edge_stride;
    const real* bias;
    const double* scale;

    index_t outputs() const { return conv.columns.C; }
    index_t state_channels() const { return form.affine() ? outputs() : 2 * outputs(); }

    // Couples N images h [N, H, W, C]: logdet [N] +=. Writes out [N*H*W, outputs] unless nullptr.
    template <class RunHidden>
    void couple(const Context& context, index_t N, state_t* h, double* logdet, real* out,
                RunHidden run_hidden) const {
        real* const taps =
            context.workspace.take<real>(largest_block(context, H, W, N, true) * conv.columns.stride);
        each_block(context, N, [&](const ImageRows& block) {
            conv.forward_taps(context, block.pixels(), run_hidden(block), weight, taps);
            coupling_forward_by_image(context.exec, images(block, h), taps, logdet + block.begin / H,
                                      out != nullptr ? out + block.begin * W * outputs() : nullptr);
        });
    }

    // Backward of couple() for a tile. hidden2: h2 of all its images, which run_hidden() computes unless the
    // tile has saved maps. Returns dh2; with fuses_relu it includes the gradient of the ReLU before, and db2'
    // is computed too.
    template <class RunHidden>
    Map* backward(const Context& context, const CouplingNetwork::Tile& tile, const FoldedGradient& gradient,
                  const Map* hidden2, bool fuses_relu, RunHidden run_hidden) const {
        Arena& arena = context.workspace;
        const index_t stride = conv.columns.stride, C = outputs();
        // dh2 shares memory with the block's taps, which are read before it is written.
        std::size_t bytes = 0;
        each_block(context, tile.N, [&](const ImageRows& block) {
            const index_t taps =
                tile.saved == nullptr ? block.pixels() * stride * static_cast<index_t>(sizeof(real)) : 0;
            const index_t begin = block.begin * W * conv.inputs * static_cast<index_t>(sizeof(Map));
            const index_t dh2 = block.pixels() * conv.inputs * static_cast<index_t>(sizeof(Map));
            bytes = std::max(bytes, static_cast<std::size_t>(begin + std::max(taps, dh2)));
        });
        Map* const dhidden2 = static_cast<Map*>(arena.take_bytes(bytes));
        each_block(context, tile.N, [&](const ImageRows& block) {
            const Arena::Scope scope(arena);
            const index_t pixels = block.pixels(), at = block.begin * W;
            Map* const dh2 = dhidden2 + at * conv.inputs;
            real* const taps = reinterpret_cast<real*>(dh2);
            const Map* const h2 = hidden2 + at * conv.inputs;
            if (tile.saved == nullptr) {
                run_hidden(block);
                conv.forward_taps(context, pixels, h2, weight, taps);
            }
            Map* const dtaps = arena.take<Map>(pixels * stride);
            coupling_backward_by_image<Map>(
                context.exec, images(block, tile.h), taps,
                tile.saved != nullptr ? tile.saved->out + at * C : nullptr,
                {tile.dlogdet, tile.dh + at * state_channels(), dtaps,
                 gradient.output_sums + tile.first + block.begin / H, gradient.N});
            const NarrowOutputConv::BackwardTaps<Map> conv3{
                .x = h2,
                .weight = weight,
                .dtaps = dtaps,
                .dweight = {gradient.conv3, tile.accumulates() || block.begin > 0},
                .dx = dh2};
            if constexpr (std::is_same_v<Map, bfloat16>)
                if (fuses_relu) return conv.backward_taps_and_relu(context, pixels, conv3, gradient.bias2);
            conv.backward_taps(context, pixels, conv3);
        });
        return dhidden2;
    }

  private:
    template <class F>
    void each_block(const Context& context, index_t N, F f) const {
        for_each_block(context, H, W, N, f, true);
    }
    CouplingImages images(const ImageRows& block, state_t* h) const {
        return {.affine = form.affine(),
                .coupling_scale = form.scale,
                .N = (block.end - block.begin) / H,
                .H = H,
                .W = W,
                .outputs = outputs(),
                .stride = conv.columns.stride,
                .edge_weight = edge_weight,
                .edge_stride = edge_stride,
                .bias = bias,
                .scale = scale,
                .h = h + block.begin * W * state_channels()};
    }
};

}  // namespace glow::inline GLOW_REAL

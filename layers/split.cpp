// The split's prior is (conv(a) + bias) exp(3 logs) with few input channels: im2col and one product with
// folded scale.
#include "layers/split.h"

#include <algorithm>

#include "kernels/actnorm_fold.h"
#include "kernels/convolution.h"
#include "kernels/density_map.h"
#include "kernels/elementwise.h"
#include "kernels/gaussian.h"
#include "kernels/reduce.h"
#include "kernels/squeeze_split.h"
#include "runtime/trace.h"

namespace glow::inline GLOW_REAL {
Split::Split(const ModelConfig& config, const Shape& shape, index_t tile, const std::string& name,
             Parameters& parameters)
    : name_(name),
      shape_(shape),
      tile_(tile),
      conv_{NarrowInputConv::layout(shape.C / 2, config.edge_bias), shape.C, scalar_of<real>} {
    const index_t depth = conv_.columns.per_tap();
    weight_ = parameters.add(name + "/weight", {shape.C, 3, 3, depth}, Init::zeros);
    bias_ = parameters.add(name + "/bias", {shape.C}, Init::zeros);
    logs_ = parameters.add(name + "/logs", {shape.C}, Init::zeros);
}

const real* Split::fold(const Context& context) const {
    const Columns& columns = conv_.columns;
    real* const folded = context.workspace.take<real>(shape_.C * columns.stride);
    fold_actnorm(context.exec, shape_.C, 9 * columns.per_tap(), columns.stride, weight_.value(),
                 bias_.value(), logs_.value(), folded);
    return folded;
}

void Split::predict(const Context& context, const real* folded, index_t images, const state_t* a,
                    index_t stride, real* out) const {
    for_each_block(context, shape_.H, shape_.W, images, [&](const ImageRows& block) {
        conv_.forward(context, block, {a, stride}, folded, Epilogue::none,
                      out + block.begin * shape_.W * shape_.C);
    });
}

// Calls f(first image, images, (mean, logs) [images*H*W, C], folded weights) tile by tile.
template <class F>
void Split::with_prediction(const Context& context, index_t N, const state_t* a, index_t stride, F f) const {
    Arena& arena = context.workspace;
    const Arena::Scope scope(arena);
    const real* const folded = fold(context);
    const index_t tile = images_per_tile(tile_, shape_.pixels(), conv_.columns.stride, N, context.blocking);
    for (index_t n = 0; n < N; n = next_block(context.skips_blocks(), n, tile, N)) {
        const Arena::Scope tile_scope(arena);
        const index_t images = std::min(tile, N - n);
        real* const out = arena.take<real>(images * shape_.size());
        predict(context, folded, images, a + n * shape_.pixels() * stride, stride, out);
        f(n, images, out, folded);
    }
}

void Split::predict(const Context& context, index_t N, const state_t* h, real* out) const {
    with_prediction(context, N, h, shape_.C, [&](index_t n, index_t images, const real* found, const real*) {
        copy(context.exec, images * shape_.size(), found, out + n * shape_.size());
    });
}

void Split::forward(const Context& context, Flow& flow) {
    const Trace trace(name_);
    const index_t C = shape_.C;
    with_prediction(context, flow.N, flow.h, C, [&](index_t n, index_t images, const real* out, const real*) {
        const LatentShape b{images, shape_.pixels(), C / 2, C};
        gaussian_log_density(context.exec, b, {interleaved_gaussian(C / 2), out, out + 1},
                             flow.h + n * shape_.size() + C / 2, flow.prior + n,
                             context.workspace.take<double>(group_scratch(images)));
    });
    split_off(context, flow);
}

void Split::forward_by_pixel(const Context& context, Flow& flow, double* log_density) const {
    const Trace trace(name_);
    const index_t C = shape_.C;
    with_prediction(context, flow.N, flow.h, C, [&](index_t n, index_t images, const real* out, const real*) {
        gaussian_log_density_by_pixel(context.exec, {images, shape_.pixels(), C / 2, C},
                                      {interleaved_gaussian(C / 2), out, out + 1},
                                      flow.h + n * shape_.size() + C / 2, log_density + n * shape_.pixels());
    });
    split_off(context, flow);
}

void Split::split_off(const Context& context, Flow& flow) const {
    const Arena::Scope scope(context.workspace);
    split_halves(context.exec, flow.N * shape_.pixels(), shape_.C, flow.h,
                 context.workspace.take<state_t>(flow.N * shape_.size()));
}

void Split::inverse(const Context& context, Flow& flow) {
    const Trace trace(name_);
    const Arena::Scope scope(context.workspace);
    merge_halves(context.exec, flow.N * shape_.pixels(), shape_.C, flow.h,
                 context.workspace.take<state_t>(flow.N * shape_.size()));
}

void Split::backward(const Context& context, Flow& flow, Gradient& gradient) {
    const Trace trace(name_);
    const index_t C = shape_.C, rows = flow.N * shape_.pixels();
    inverse(context, flow);
    {
        const Arena::Scope scope(context.workspace);
        merge_halves(context.exec, rows, C, gradient.dh,
                     context.workspace.take<real>(flow.N * shape_.size()));
    }
    Arena& arena = context.workspace;
    const Arena::Scope scope(arena);
    const Columns& columns = conv_.columns;
    real* const dfolded = arena.take<real>(C * columns.stride);
    with_prediction(
        context, flow.N, flow.h, C, [&](index_t n, index_t images, const real* out, const real* folded) {
            const LatentShape b{images, shape_.pixels(), C / 2, C};
            const state_t* const h = flow.h + n * shape_.size();
            real* const dh = gradient.dh + n * shape_.size();
            real* const dout = arena.take<real>(images * shape_.size());
            const Gaussian prior{interleaved_gaussian(C / 2), out, out + 1};
            if (gradient.from_eps)
                gaussian_encode_backward(context.exec, b, prior, h + C / 2, dh + C / 2, dout, dout + 1);
            else
                gaussian_backward(context.exec, b, prior, h + C / 2, gradient.dlogp, dh + C / 2, dout,
                                  dout + 1);
            for_each_block(context, shape_.H, shape_.W, images, [&](const ImageRows& block) {
                conv_.backward<real>(context, block,
                                     {.x = {h, C},
                                      .weight = folded,
                                      .dy = dout + block.begin * shape_.W * C,
                                      .dweight = {dfolded, n > 0 || block.begin > 0},
                                      .dx = dh});
            });
        });
    unfold_actnorm(context.exec, {.out = C,
                                  .K = 9 * columns.per_tap(),
                                  .stride = columns.stride,
                                  .W = weight_.value(),
                                  .bias = bias_.value(),
                                  .logs = logs_.value(),
                                  .dfolded = dfolded,
                                  .dfolded_bias = nullptr,
                                  .dW = weight_.gradient(gradient.parameters),
                                  .dbias = bias_.gradient(gradient.parameters),
                                  .dlogs = logs_.gradient(gradient.parameters)});
}

void Split::encode(const Context& context, Flow& flow) {
    const Trace trace(name_);
    const index_t half = shape_.C / 2;
    state_t* const latents = flow.h + flow.N * shape_.pixels() * half;
    with_prediction(
        context, flow.N, flow.h, half, [&](index_t n, index_t images, const real* out, const real*) {
            gaussian_encode(context.exec, {images, shape_.pixels(), half, half},
                            {interleaved_gaussian(half), out, out + 1}, latents + n * shape_.pixels() * half);
        });
}

void Split::decode(const Context& context, Flow& flow) {
    const Trace trace(name_);
    const index_t half = shape_.C / 2;
    state_t* const latents = flow.h + flow.N * shape_.pixels() * half;
    with_prediction(
        context, flow.N, flow.h, half, [&](index_t n, index_t images, const real* out, const real*) {
            gaussian_decode(context.exec, {images, shape_.pixels(), half, half},
                            {interleaved_gaussian(half), out, out + 1}, latents + n * shape_.pixels() * half);
        });
}

}  // namespace glow::inline GLOW_REAL

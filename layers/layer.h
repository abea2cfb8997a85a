// The contract of the invertible layers (architecture section 4): layers work in place on one state, forward
// stores nothing, and backward turns a layer's output and its gradient into its input and its gradient.
//
// The rule, once, everywhere: parameter gradients accumulate (+=), activations overwrite (=).
#pragma once

#include "kernels/base.h"
#include "layers/config.h"
#include "layers/parameters.h"
#include "runtime/context.h"

namespace glow::inline GLOW_REAL {

// What flows: N images. h is one buffer for the whole network, N*D elements: the feature maps [N, H, W, C] of
// the layer at work come first, then the latents that splits of earlier levels have put aside, deepest first.
struct Flow {
    index_t N = 0;
    state_t* h = nullptr;
    double* logdet = nullptr;  // [N] nats, sum of log|det dy/dx| so far
    double* prior = nullptr;   // [N] nats, sum of the latents' log-densities so far
    // Of conditional models only:
    const std::int32_t* labels = nullptr;  // [N] classes, 0 .. n_classes - 1
    double *bits_y = nullptr,
           *error_y = nullptr;  // [N] the classifier's: cross-entropy in bits, 1 where it errs
};

// The gradient that goes with it. The loss is a sum over images, linear in each image's log p = ... + logdet + prior
// and, where there is a classifier, in its cross-entropy bits_y.
struct Gradient {
    real* dh = nullptr;                  // [N, H, W, C] dL/dh, in the layout of h
    double dlogp = 0;                    // dL/dlog p, the same for every image
    double dbits_y = 0;                  // dL/dbits_y, the same for every image
    ParameterGradients parameters = {};  // += dL/dparameters
};

class Layer {
  public:
    virtual ~Layer() = default;
    // Sets the layer's actnorms from the data that reaches them on all processes (spec section 1), then
    // forward. This process may have no image.
    virtual void initialize(const Context& context, Flow& flow) { forward(context, flow); }
    // h: x -> y, logdet += log|det dy/dx|.
    virtual void forward(const Context& context, Flow& flow) = 0;
    // h: y -> x; logdet is left alone.
    virtual void inverse(const Context& context, Flow& flow) = 0;
    // h: y -> x, dh: dL/dy -> dL/dx, parameter gradients +=; logdet is left alone.
    virtual void backward(const Context& context, Flow& flow, Gradient& gradient) = 0;
};

// Images that a network of hidden width `width` takes at once, for feature maps of `pixels` pixels: `tile`
// where it is given, else as many as make a hidden map of about blocking.tile_elements (CPU: 2^21, for
// smaller ones cost more in threads that wait for each other than caches save, docs/results). A fixed rule:
// forward and recomputation agree.
index_t images_per_tile(index_t tile, index_t pixels, index_t width, index_t N,
                        const Blocking& blocking = kCpuBlocking);

// The block that follows `begin` when `count` items are taken `step` at a time. Where memory is only counted,
// the first and the last block stand for all: those between are as large as the first.
inline index_t next_block(bool count_only, index_t begin, index_t step, index_t count) {
    const index_t last = (count - 1) / step * step;
    return count_only && begin < last ? last : begin + step;
}

}  // namespace glow::inline GLOW_REAL

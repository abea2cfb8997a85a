// The contract of the invertible layers: layers work in place on one state, forward stores nothing, and
// backward turns a layer's output and the gradient of the loss there into the layer's input and the gradient
// there.
//
// Throughout the code, parameter gradients accumulate (+=) and activations overwrite (=).
#pragma once

#include "kernels/base.h"
#include "layers/config.h"
#include "layers/parameters.h"
#include "runtime/context.h"

namespace glow::inline GLOW_REAL {

// The state of N images. h is one buffer of N*D elements for the whole network: first the feature maps [N, H,
// W, C] of the current layer, then the latents split off by earlier levels, deepest first.
struct Flow {
    index_t N = 0;
    state_t* h = nullptr;
    double* logdet = nullptr;  // [N] nats, sum of log|det dy/dx| so far
    double* prior = nullptr;   // [N] nats, sum of the latents' log-densities so far
    // Conditional models only:
    const std::int32_t* labels = nullptr;  // [N] classes, 0 .. n_classes - 1
    double* bits_y = nullptr;              // [N] cross-entropy of the classifier, in bits
    double* error_y = nullptr;             // [N] 1 if the classifier is wrong, else 0
    // With variational noise u: [N] nats, -log q(u). Glow::forward() includes it in logdet.
    double* minus_log_q = nullptr;
    // Conditional couplings only: additional input of their networks, [N, H, W, CouplingOptions::condition].
    const real* condition = nullptr;
};

// Gradient of the state. The loss is the sum over images of dlogp * log p and, with a classifier, of
// dbits_y * bits_y, plus a constant. log p contains Flow's logdet + prior.
struct Gradient {
    real* dh = nullptr;                  // [N, H, W, C] dL/dh, in the layout of h
    double dlogp = 0;                    // dL/dlog p, equal for every image
    double dbits_y = 0;                  // dL/dbits_y, equal for every image
    ParameterGradients parameters = {};  // += dL/dparameters
    real* dcondition = nullptr;  // += dL/dcondition, in the layout of Flow's; conditional couplings only
    // Of another loss, a function of the latents as standard normal eps: dh is dL/deps before backward, and
    // dlogp and dbits_y are 0. The gradients of the top prior's parameters are not computed.
    bool from_eps = false;
};

// Gradient dh of the training loss, the mean over N images of bits/dim + weight_y * bits_y.
inline Gradient mean_loss_gradient(const ModelConfig& config, double N, real* dh) {
    return {.dh = dh, .dlogp = -1.0 / (config.nats_per_bit_dim() * N), .dbits_y = config.weight_y / N};
}

class Layer {
  public:
    virtual ~Layer() = default;
    // Sets the layer's actnorms from the data that reaches them on all processes, then runs forward. A
    // process may have no images.
    virtual void initialize(const Context& context, Flow& flow) { forward(context, flow); }
    // h: x -> y, logdet += log|det dy/dx|.
    virtual void forward(const Context& context, Flow& flow) = 0;
    // h: y -> x; logdet is unchanged.
    virtual void inverse(const Context& context, Flow& flow) = 0;
    // h: y -> x, dh: dL/dy -> dL/dx, parameter gradients +=; logdet is unchanged.
    virtual void backward(const Context& context, Flow& flow, Gradient& gradient) = 0;
};

// Images per tile for a network of hidden width `width` on feature maps of `pixels` pixels: `tile` if
// nonzero, otherwise enough for a hidden map of about blocking.tile_elements; at most all N images. The rule
// is fixed so that forward and recomputation agree. On a CPU, tile_elements is 2^21: with smaller tiles,
// thread synchronization costs more than caches gain.
index_t images_per_tile(index_t tile, index_t pixels, index_t width, index_t N,
                        const Blocking& blocking = kCpuBlocking);

// The next block after `begin` when `count` items are processed `step` at a time. When only counting memory,
// the first, second and last block suffice: those in between equal the second. The first may take less
// scratch, because it overwrites gradients and the others add to them.
inline index_t next_block(bool count_only, index_t begin, index_t step, index_t count) {
    const index_t last = (count - 1) / step * step;
    return count_only && 0 < begin && begin < last ? last : begin + step;
}

}  // namespace glow::inline GLOW_REAL

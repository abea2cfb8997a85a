// Split (paper section 3.4): half b of the channels becomes a latent with density
// N(b; mean(a), exp(logs(a))); (mean, logs) is a zero-initialized 3x3 convolution of the remaining half a.
#pragma once

#include <string>

#include "layers/conv3x3.h"
#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

// Before: h = [N, H, W, C]. After: h = a [N, H, W, C/2], then b [N, H, W, C/2].
class Split : public Layer {
  public:
    Split(const ModelConfig& config, const Shape& shape, index_t tile, const std::string& name,
          Parameters& parameters);

    // flow.prior += log-density of b. logdet is unchanged: the split is a permutation.
    void forward(const Context& context, Flow& flow) override;
    void inverse(const Context& context, Flow& flow) override;
    // Reads dh of a and sets dh of b, which with gradient.from_eps is dL/deps before.
    void backward(const Context& context, Flow& flow, Gradient& gradient) override;
    // As forward(), but adds the log-densities by pixel, log_density [N, H, W] += (nats), instead of to prior.
    void forward_by_pixel(const Context& context, Flow& flow, double* log_density) const;

    // After forward: b <- eps = (b - mean) exp(-logs). Before inverse: b <- mean + exp(logs) eps.
    void encode(const Context& context, Flow& flow);
    void decode(const Context& context, Flow& flow);

    // Parameters of b's density given the a halves of h [N, H, W, C]: (mean, logs) interleaved, out [N*H*W,
    // C]. Overwrites only out.
    void predict(const Context& context, index_t N, const state_t* h, real* out) const;

  private:
    // (mean, logs) interleaved [images*H*W, C] of `images` images from their a halves (`stride` elements per
    // pixel).
    void predict(const Context& context, const real* folded, index_t images, const state_t* a, index_t stride,
                 real* out) const;
    const real* fold(const Context& context) const;
    // h: [N, H, W, C] -> a, then b.
    void split_off(const Context& context, Flow& flow) const;
    template <class F>
    void with_prediction(const Context& context, index_t N, const state_t* a, index_t stride, F f) const;

    std::string name_;
    Shape shape_;
    index_t tile_;
    NarrowInputConv conv_;
    Parameter weight_, bias_, logs_;
};

}  // namespace glow::inline GLOW_REAL

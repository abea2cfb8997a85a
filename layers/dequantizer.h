// Variational dequantization (Ho et al. 2019, section 3.1): a small conditional flow f turns standard normal
// numbers eps into the noise of an image in its pixels' bins, u = sigmoid(f(eps; c)), where c are features of
// the image. With log q(u) = log N(eps) - log|det df/deps| - sum of log(u (1 - u)), each draw bounds the
// likelihood of the pixels k: log p(k) >= E[log p((k + u) / n_bins - 1/2) - log q(u)] - D ln n_bins. Uniform
// noise is the case log q = 0.
//
// f works at half the image's resolution: a squeeze, then steps of actnorm, 1x1 convolution and conditional
// affine coupling. Backward reconstructs eps from the logits f(eps; c), the only state that forward saves.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/dequantize.h"
#include "layers/actnorm_mixing.h"
#include "layers/coupling.h"
#include "layers/feature_network.h"
#include "layers/squeeze.h"

namespace glow::inline GLOW_REAL {

class Dequantizer {
  public:
    // config.dequant_depth > 0 steps, networks of config.dequant_width hidden channels; tile: images per
    // tile, 0 = images_per_tile().
    Dequantizer(const ModelConfig& config, Precision precision, index_t tile, Parameters& parameters);

    // Derived values, as in Glow. conditions [dequant_depth]: receives the condition numbers of W.
    void allocate(Arena& derived, double* conditions) {
        ActnormMixing::allocate(mixings_, derived, conditions);
    }
    void start_deriving(const Context& context) { ActnormMixing::start_deriving(context, mixings_); }
    void finish_deriving(const Context& context) { ActnormMixing::finish_deriving(context, mixings_); }
    // The networks whose weights FoldedWeights folds: those of the steps, then the feature network.
    std::vector<FoldedLevel> networks();
    void use(const FoldedWeights& folded, index_t first_level);

    // Initializes the actnorms from these images and their eps, so that u is about uniform, then runs
    // forward(). Needs no derived values.
    void initialize(const Context& context, const Pixels& pixels, const Noise& noise, Flow& flow,
                    double* minus_log_q);

    // flow.h [N, H, W, C] = dequantized images; flow.minus_log_q = minus_log_q [N]. logits [N, H, W, C]:
    // receives f(eps; c) for backward, unless nullptr. On a GPU the log-determinants of the 1x1 convolutions
    // are added by add_logdets().
    void forward(const Context& context, const Pixels& pixels, const Noise& noise, Flow& flow,
                 double* minus_log_q, state_t* logits);
    // sums [N] += what forward() left out on a GPU. Requires all derived values.
    void add_logdets(const Context& context, index_t N, double* sums) const;

    // Call after backward of the main flow: flow.h holds the reconstructed images and gradient.dh = dL/dx;
    // both are overwritten. gradient.parameters +=. difference [N]: largest error of the reconstructed image
    // or eps.
    void backward(const Context& context, const Pixels& pixels, const Noise& noise, Flow& flow,
                  const state_t* logits, const Gradient& gradient, double* difference);

    const MixingValues& values() const { return mixings_.front()->values(); }

  private:
    struct Step {
        ActnormMixing mixing;
        Coupling coupling;
        std::string name;
    };
    // The feature network's input, in scratch: the images at the bins' centers, squeezed.
    state_t* take_squeezed_pixels(const Context& context, const Pixels& pixels) const;
    real* take_features(const Context& context, index_t N) const;
    // Draws eps into flow.h. Returns the flow of eps, which accumulates its log-determinant in minus_log_q.
    Flow start(const Context& context, const Pixels& pixels, const Noise& noise, const Flow& flow,
               double* minus_log_q, const real* features) const;
    // flow.h: squeezed logits f(eps; c) -> dequantized images.
    void finish(const Context& context, const Pixels& pixels, Flow& flow, double* minus_log_q,
                state_t* logits);

    Shape image_, shape_;  // before and after the squeeze
    index_t features_;
    Squeeze squeeze_;
    FeatureNetwork network_;
    std::vector<std::unique_ptr<Step>> steps_;
    std::vector<ActnormMixing*> mixings_;  // one per step
};

}  // namespace glow::inline GLOW_REAL

// Actnorm followed by channel mixing (paper sections 3.1 and 3.2) as one affine map per pixel, in double:
// y = W diag(s) (x + b), s = exp(3 logs). The log-determinant is (sum 3 logs + log|det W|) per pixel.
// W is an invertible 1x1 convolution, plain or as LU factors, or a fixed permutation.
#pragma once

#include <span>

#include "kernels/mixing.h"
#include "kernels/mixing_gradient.h"
#include "kernels/mixing_values.h"
#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

class ActnormMixing : public Layer {
  public:
    // `name` is the name of the step, "level0/step3".
    ActnormMixing(const Shape& shape, Permutation permutation, const std::string& name,
                  Parameters& parameters);

    // The layers of one level: equal shape and kind, created consecutively. Their derived values are computed
    // together, in a few kernels and one solver call.
    using Steps = std::span<ActnormMixing* const>;
    // Allocates 4 C^2 + 2 C + 2 doubles of derived values per step. conditions: [steps] doubles set by
    // derive().
    static void allocate(Steps steps, Arena& derived, double* conditions);
    // Computes derived values from the parameters: M = W diag(s), M^-1, W^-1, logdet. Call after every change
    // of the parameters. Sets W's condition numbers; inf if W is singular or a parameter is not finite, and
    // then the layer's results are meaningless.
    static void derive(const Context& context, Steps steps) {
        start_deriving(context, steps);
        finish_deriving(context, steps);
    }
    // The two halves of derive(). After the first, a GPU is still computing determinants and inverses: only
    // forward() without log-determinants may be called. Everything else requires the second.
    static void start_deriving(const Context& context, Steps steps);
    static void finish_deriving(const Context& context, Steps steps);

    // Sets the actnorm from the data, then runs derive() and forward().
    void initialize(const Context& context, Flow& flow) override { initialize(context, flow, 1); }
    // spread: standard deviation that the actnorm gives each channel.
    void initialize(const Context& context, Flow& flow, double spread);
    void forward(const Context& context, Flow& flow) override { forward(context, flow, true); }
    // Without log-determinants, call add_logdets() later for all steps together.
    void forward(const Context& context, Flow& flow, bool with_logdet);
    static void add_logdets(const Context& context, Steps steps, Flow& flow);
    void inverse(const Context& context, Flow& flow) override;
    // inverse(), then gradient() at the reconstructed input.
    void backward(const Context& context, Flow& flow, Gradient& gradient) override {
        backward(context, flow, gradient, nullptr);
    }
    // network: unless nullptr, also runs unfold_network() for it; on a GPU without an additional kernel.
    void backward(const Context& context, Flow& flow, Gradient& gradient, const NetworkUnfolding* network);
    // dh: dL/dy -> dL/dx; parameter gradients += at the layer's input x [N, H, W, C].
    void gradient(const Context& context, index_t N, const state_t* x, Gradient& gradient,
                  const NetworkUnfolding* network = nullptr) const;

    // Derived values in device memory, valid after derive().
    const MixingValues& values() const { return values_; }

  private:
    // backward(), or gradient() at a given x, in two kernels.
    void fused_backward(const Context& context, index_t rows, state_t* h, const state_t* x,
                        const Gradient& gradient, const NetworkUnfolding* network) const;
    void factors_gradient(const Context& context, const real* dMc, double dlogdet,
                          const Gradient& gradient) const;
    ActnormParameters actnorm() const;
    ActnormGradients actnorm_gradients(const Gradient& gradient) const;
    LuFactors factors() const;
    // Distance in elements between the parameters of this step and the next.
    index_t stride_to(const ActnormMixing& next) const { return next.bias_.offset() - bias_.offset(); }
    index_t fixed_stride_to(const ActnormMixing& next) const { return next.fixed_offset() - fixed_offset(); }
    index_t fixed_offset() const;

    Shape shape_;
    Permutation permutation_;
    Parameter bias_, logs_;  // [C], [C]
    Parameter weight_;       // [C, C], invconv
    Parameters::Lu lu_;      // invconv_lu
    Parameter indices_;      // [C], shuffle
    MixingValues values_{};
};

}  // namespace glow::inline GLOW_REAL

// Actnorm followed by the channel mixing (paper sections 3.1 and 3.2), as one affine map per pixel:
// y = W diag(s) (x + b), s = exp(3 logs), logdet = H W (sum 3 logs + log|det W|). In double. W is an
// invertible 1x1 convolution, plain or by its LU factors, or a fixed permutation.
#pragma once

#include <span>

#include "kernels/mixing.h"
#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

class ActnormMixing : public Layer {
  public:
    // `name` is the step's, "level0/step3".
    ActnormMixing(const Shape& shape, Permutation permutation, const std::string& name,
                  Parameters& parameters);

    // Layers of equal shape and kind that were made one after the other: the steps of a level. Their derived
    // values are made together, in a few kernels and one call of the solver.
    using Steps = std::span<ActnormMixing* const>;
    // Takes 4 C^2 + 2 C + 2 doubles of derived values a step. conditions: [steps] doubles that derive()
    // sets.
    static void allocate(Steps steps, Arena& derived, double* conditions);
    // Derived values from the parameters: M = W diag(s), its inverse, W^-1, logdet. To be called after every
    // change of the parameters. Sets W's condition numbers; inf where W is singular or a parameter is not
    // finite, and then the layer's results mean nothing.
    static void derive(const Context& context, Steps steps) {
        start_deriving(context, steps);
        finish_deriving(context, steps);
    }
    // Its two halves. After the first, forward() without log-determinants can be run, while a GPU works out
    // determinants and inverses; all else after the second.
    static void start_deriving(const Context& context, Steps steps);
    static void finish_deriving(const Context& context, Steps steps);

    // Sets the actnorm; then as derive() and forward().
    void initialize(const Context& context, Flow& flow) override;
    void forward(const Context& context, Flow& flow) override { forward(context, flow, true); }
    // Without log-determinants add_logdets() has to follow, for all steps together.
    void forward(const Context& context, Flow& flow, bool with_logdet);
    static void add_logdets(const Context& context, Steps steps, Flow& flow);
    void inverse(const Context& context, Flow& flow) override;
    // inverse(), then gradient() at the state it found.
    void backward(const Context& context, Flow& flow, Gradient& gradient) override;
    // dh: dL/dy -> dL/dx, parameter gradients += those at the layer's input x [N, H, W, C].
    void gradient(const Context& context, index_t N, const state_t* x, Gradient& gradient) const;

    // Derived values, valid after derive(); in the memory of the device.
    const MixingValues& values() const { return values_; }

  private:
    // backward() or, at a given x, gradient() in two kernels.
    void fused_backward(const Context& context, index_t rows, state_t* h, const state_t* x,
                        const Gradient& gradient) const;
    void factors_gradient(const Context& context, const real* dMc, double dlogdet,
                          const Gradient& gradient) const;
    LuFactors factors() const;
    // The next step's parameters lie so many elements behind this one's.
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

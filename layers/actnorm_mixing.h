// Actnorm followed by the invertible 1x1 convolution (paper sections 3.1 and 3.2), as one affine map per
// pixel: y = W diag(s) (x + b), s = exp(3 logs), logdet = H W (sum 3 logs + log|det W|). In double.
#pragma once

#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

class ActnormMixing : public Layer {
  public:
    // `name` is the step's, "level0/step3".
    ActnormMixing(const Shape& shape, const std::string& name, Parameters& parameters);

    // Takes 3 C^2 + C doubles of derived values.
    void allocate(Arena& derived);
    // Derived values from the parameters: M = W diag(s), its inverse, W^-1, logdet. To be called after every
    // change of the parameters. Returns W's condition number; inf where W is singular or a parameter is not
    // finite, and then the layer must not be run.
    double prepare(const Context& context);

    void initialise(const Context& context, Flow& flow) override;
    void forward(const Context& context, Flow& flow) override;
    void inverse(const Context& context, Flow& flow) override;
    void backward(const Context& context, Flow& flow, Gradient& gradient) override;

    // Nats per image, valid after prepare().
    double actnorm_logdet() const { return actnorm_logdet_; }
    double mixing_logdet() const { return mixing_logdet_; }

  private:
    Shape shape_;
    Parameter bias_, logs_, weight_;  // [C], [C], [C, C]
    double* M_ = nullptr;             // [C, C] W diag(s)
    double* M_inverse_ = nullptr;     // [C, C] diag(1/s) W^-1
    double* W_inverse_ = nullptr;     // [C, C]
    double* shift_ = nullptr;         // [C] M b
    double* minus_bias_ = nullptr;    // [C] -b
    double actnorm_logdet_ = 0, mixing_logdet_ = 0;
};

}  // namespace glow::inline GLOW_REAL

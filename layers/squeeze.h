// Squeeze: [N, H, W, C] -> [N, H/2, W/2, 4C], a permutation.
#pragma once

#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

class Squeeze : public Layer {
  public:
    // The shape before the squeeze.
    explicit Squeeze(const Shape& shape) : shape_(shape) {}

    void forward(const Context& context, Flow& flow) override;
    void inverse(const Context& context, Flow& flow) override;
    void backward(const Context& context, Flow& flow, Gradient& gradient) override;

  private:
    Shape shape_;
};

}  // namespace glow::inline GLOW_REAL

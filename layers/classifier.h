// Classifier of a conditional model (spec section 1, --weight-y): a zero-initialized linear layer of the
// spatial mean of the top latents z, times exp(3 logs). Its cross-entropy joins the loss; log p stays as it
// is.
#pragma once

#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

class Classifier {
  public:
    Classifier(const ModelConfig& config, const Shape& shape, Parameters& parameters);

    // Of z = h [N, H, W, C] and flow.labels: flow.bits_y[n] = cross-entropy in bits, flow.error_y[n] = 1
    // where the class is not the most likely one (overwrite).
    void forward(const Context& context, const Flow& flow) const;
    // dh += gradient of dbits_y * sum of bits_y, parameter gradients +=.
    void backward(const Context& context, const Flow& flow, Gradient& gradient) const;

  private:
    // Spatial means [N, C] and logits [N, classes], taken from the workspace.
    struct Logits {
        double *mean, *logits;
    };
    Logits logits(const Context& context, const Flow& flow) const;

    Shape shape_;
    index_t classes_;
    Parameter weight_, bias_, logs_;  // [C, classes], [classes], [classes]
};

}  // namespace glow::inline GLOW_REAL

// Classifier of a conditional model (--weight-y): a zero-initialized linear layer on the spatial mean of the
// top latents z, times exp(3 logs). Its cross-entropy is added to the loss; log p is unaffected.
#pragma once

#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

class Classifier {
  public:
    Classifier(const ModelConfig& config, const Shape& shape, Parameters& parameters);

    // From z = h [N, H, W, C] and flow.labels: flow.bits_y[n] = cross-entropy in bits, flow.error_y[n] = 1 if
    // the class is not the most likely one (overwrites).
    void forward(const Context& context, const Flow& flow) const;
    // dh += gradient of dbits_y * sum of bits_y; parameter gradients +=.
    void backward(const Context& context, const Flow& flow, Gradient& gradient) const;

  private:
    // Spatial means [N, C] and logits [N, classes] in the workspace.
    struct Logits {
        double *mean, *logits;
    };
    Logits logits(const Context& context, const Flow& flow) const;

    Shape shape_;
    index_t classes_;
    Parameter weight_, bias_, logs_;  // [C, classes], [classes], [classes]
};

}  // namespace glow::inline GLOW_REAL

// The sum of the gradients over the processes, beside backward.
#pragma once

#include "layers/glow.h"
#include "runtime/context.h"

namespace glow {

// Backward completes the flat array of gradients from its end to its beginning (layers/glow.h). Buckets of
// it, counted from the end and equal on all processes, are summed as soon as they are complete.
class GradientSum : public GradientListener {
  public:
    // gradients: `size` floats on `place`. Takes the communicator's scratch from `communication`.
    GradientSum(const Context& context, const Place& place, index_t size, float* gradients,
                Arena& communication);

    // Nothing of the gradients may be touched between complete() and finish().
    void complete(const TensorRange& range) override;
    // All gradients are summed after this, also those of which no complete() told: a process may have no
    // image.
    void finish();

  private:
    void start(index_t first);

    const Context& context_;
    index_t size_;
    float* gradients_;
    void* scratch_;
    index_t complete_, started_;  // where the complete part begins, and the started one
};

}  // namespace glow

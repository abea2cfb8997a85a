// Tracks whether values derived from the parameters (W^-1, log|det W|, folded weights, the prior's map) are
// current.
#pragma once

#include "layers/glow.h"

namespace glow::inline GLOW_REAL {

class DerivedWeights {
  public:
    explicit DerivedWeights(Glow& glow) : glow_(glow) {}

    // Binds `params` to the model and starts deriving unless the derived values are already current. On a
    // GPU, W^-1 and log|det W| are computed concurrently with Glow::transform(); call wait() before any other
    // use of Glow.
    void update(const Context& context, real* params);
    void wait(const Context& context);

    // Returns the conditioning of the mixings W; waits for the device. After a singular W the derived values
    // are unusable, and the next update() derives again.
    const Glow::MixingCheck& check(const Context& context);

    // Call after changing the parameters.
    void invalidate() { params_ = nullptr; }

  private:
    Glow& glow_;
    real* params_ = nullptr;  // parameters of the current derived values
    bool pending_ = false;    // the second half of derive() has not started
    bool checked_ = false;    // mixings_ belongs to params_
    Glow::MixingCheck mixings_;
};

}  // namespace glow::inline GLOW_REAL

// Whether what the layers derive from the parameters (W^-1 and log|det W|, folded weights, the prior's map) is
// current. The one place that knows.
#pragma once

#include "layers/glow.h"

namespace glow::inline GLOW_REAL {

class DerivedWeights {
  public:
    explicit DerivedWeights(Glow& glow) : glow_(glow) {}

    // Binds `params` to the model and starts deriving from them, if what is there is not theirs already. On a GPU
    // W^-1 and log|det W| are computed concurrently with Glow::transform(); wait() before anything else of Glow.
    void update(const Context& context, real* params);
    void wait(const Context& context);

    // What was found of the mixings W; waits for the device. A singular W leaves nothing usable: the next update()
    // derives anew.
    const Glow::Conditioning& check(const Context& context);

    // After the parameters changed.
    void invalidate() { params_ = nullptr; }

  private:
    Glow& glow_;
    real* params_ = nullptr;  // that the derived values belong to
    bool pending_ = false;    // their second half has not been started
    bool checked_ = false;    // conditioning_ is theirs
    Glow::Conditioning conditioning_;
};

}  // namespace glow::inline GLOW_REAL

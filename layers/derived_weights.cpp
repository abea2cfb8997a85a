#include "layers/derived_weights.h"

namespace glow::inline GLOW_REAL {

void DerivedWeights::update(const Context& context, real* params) {
    if (params == params_) return;
    wait(context);  // after a failure: a GPU may still read W, which is computed again
    invalidate();
    pending_ = true;
    checked_ = false;
    glow_.parameters().bind(params);
    glow_.start_deriving(context);
    params_ = params;
}

void DerivedWeights::wait(const Context& context) {
    if (pending_) glow_.finish_deriving(context);
    pending_ = false;
}

const Glow::MixingCheck& DerivedWeights::check(const Context& context) {
    wait(context);
    if (!checked_) mixings_ = glow_.check_mixings(context);
    checked_ = true;
    if (!mixings_.bad_layer.empty()) invalidate();
    return mixings_;
}

}  // namespace glow::inline GLOW_REAL

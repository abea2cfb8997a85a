// The arrays of a model in training: weights, averages and moments.
#pragma once

#include "kernels/base.h"

namespace glow {

// A model's flat arrays in device memory, in the layout of Parameters; nullptr if not needed.
struct Weights {
    float* params = nullptr;
    float* ema = nullptr;
    float* m = nullptr;
    float* v = nullptr;
    float* fixed = nullptr;  // the fixed tensors, stored in /params
    // Alternatives to m and v in bf16. Files store them as float32.
    bfloat16* m_bf16 = nullptr;
    bfloat16* v_bf16 = nullptr;

    bool has_moments() const { return m != nullptr || m_bf16 != nullptr; }
};
// Calls f(m, v) with arrays of either type.
template <class F>
void with_moments(const Weights& weights, F f) {
    if (weights.m_bf16 != nullptr)
        f(weights.m_bf16, weights.v_bf16);
    else
        f(weights.m, weights.v);
}

}  // namespace glow

// Scale of an affine coupling from its network's output h, shared by forward, inverse, backward and lossless
// coding.
#pragma once

#include "kernels/math.h"

namespace glow {

// sigmoid(h + 2), or exp(2 tanh(h / 2)), which stays between exp(-2) and exp(2).
enum class CouplingScale { sigmoid, tanh };

// exp(2 tanh(t / 2)) and its logarithm.
GLOW_HD inline Scale tanh_scale(double t) {
    const double e = exp_of(t < 0.0 ? t : -t);
    const double size = 2.0 * (1.0 - e) / (1.0 + e);
    const double log = t < 0.0 ? -size : size;
    return {exp_of(log), log};
}

template <CouplingScale kScale>
GLOW_HD inline Scale coupling_scale(double h) {
    if constexpr (kScale == CouplingScale::sigmoid)
        return sigmoid_scale(h + 2.0);
    else
        return tanh_scale(h);
}

// d log scale / dh.
template <CouplingScale kScale>
GLOW_HD inline double coupling_scale_slope(const Scale& scale) {
    if constexpr (kScale == CouplingScale::sigmoid)
        return 1.0 - scale.value;
    else
        return 1.0 - 0.25 * scale.log * scale.log;
}

}  // namespace glow

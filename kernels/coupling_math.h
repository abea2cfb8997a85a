// Element formulas of the coupling layer and of the network's last convolution, shared by the kernels with a
// thread per element and those with a thread block per image.
#pragma once

#include "kernels/coupling_scale.h"
#include "kernels/taps.h"

namespace glow::inline GLOW_REAL {

// Output of a zero-initialized convolution from the sum of its taps: (sum + bias + edge) scale. edge(tap):
// the weight of a tap outside the image.
template <class Edge>
GLOW_HD inline real zero_convolution_output(real sum_of_taps, double bias, unsigned taps, Edge edge,
                                            double scale) {
    double sum = static_cast<double>(sum_of_taps) + bias;
    if (taps == kAllTaps) return static_cast<real>(sum * scale);
#if defined(__CUDA_ARCH__)
#pragma unroll 3  // all nine at once need too many registers
#endif
    for (int tap = 0; tap < 9; ++tap)
        if (!(taps >> tap & 1)) sum += edge(tap);
    return static_cast<real>(sum * scale);
}

// Calls f<scale>(), so that no kernel chooses element by element.
template <class F>
void with_scale(CouplingScale scale, F f) {
    if (scale == CouplingScale::tanh)
        f.template operator()<CouplingScale::tanh>();
    else
        f.template operator()<CouplingScale::sigmoid>();
}

// b <- (b + shift) scale; returns log scale. o: the network's (shift, scale) outputs.
template <CouplingScale kScale>
GLOW_HD inline double affine_forward(const real* o, state_t& b) {
    const Scale scale = coupling_scale<kScale>(o[1]);
    b = (b + o[0]) * scale.value;
    return scale.log;
}

// y = (x + shift) scale, log scale in the logdet; slope = d log scale / do[1], d scale / do[1] = scale slope.
// b: y -> x, db: dL/dy -> dL/dx, d = (dL/do[0], dL/do[1]).
template <CouplingScale kScale>
GLOW_HD inline void affine_backward(const real* o, double dlogdet, state_t& b, real& db, real* d) {
    const Scale scale = coupling_scale<kScale>(o[1]);
    const double shift = o[0], dy = db, y = b;
    b = y / scale.value - shift;
    db = static_cast<real>(dy * scale.value);
    d[0] = static_cast<real>(dy * scale.value);
    d[1] = static_cast<real>((dy * round_state<real>(y) + dlogdet) * coupling_scale_slope<kScale>(scale));
}

}  // namespace glow::inline GLOW_REAL

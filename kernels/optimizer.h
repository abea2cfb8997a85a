// Element-wise optimizer updates, one pass over the flat parameter array.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// Added to the denominator of an update: sqrt(v) of Adam, v of Adamax.
inline constexpr double kOptimizerEpsilon = 1e-8;

struct OptimizerStep {
    bool adam = false;  // otherwise Adamax
    double lr_t = 0;    // lr sqrt(1 - b2^t) / (1 - b1^t), including warm-up
    double beta1 = 0.9, beta2 = 0.999;
    double weight_decay = 0;    // d: w <- (1 - d) w - ...
    double gradient_scale = 1;  // clipping: g <- gradient_scale * g
    double ema_rate = 0;        // ema <- ema + (w - ema) * ema_rate, (1 - e) / (1 - e^t)
    // bf16 moments: stochastic rounding uses stream `number` (the step) of this seed.
    std::uint64_t seed = 0, number = 0;
};

// What a step updates; ema may be nullptr.
template <class Moment>
struct OptimizerArrays {
    real* w;
    Moment *m, *v;
    real* ema;
    index_t first = 0;  // index of w[0] among all parameters, a multiple of 8: selects the random numbers
};
template <class Moment>
OptimizerArrays(real*, Moment*, Moment*, real*, index_t) -> OptimizerArrays<Moment>;
template <class Moment>
OptimizerArrays(real*, Moment*, Moment*, real*) -> OptimizerArrays<Moment>;

// Updates the arrays in place from the gradient g. Moment is real or bfloat16. In bf16, m is rounded to
// nearest, but v uses stochastic rounding: a decay of less than half a bf16 step would never take effect with
// round-to-nearest.
template <class Moment>
void optimizer_step(const Exec& exec, index_t count, const OptimizerStep& step, const real* g,
                    const OptimizerArrays<Moment>& arrays);

// The same for part of the parameters during backward. *step is in device memory because it changes between
// replays of a CUDA graph. Updates nothing if *squares, the squared norm of g, is not finite.
template <class Moment>
void optimizer_step(const Exec& exec, index_t count, const OptimizerStep* step, const double* squares,
                    const real* g, const OptimizerArrays<Moment>& arrays);

}  // namespace glow::inline GLOW_REAL

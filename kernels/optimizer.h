// The optimizers' element-wise updates (spec section 1), one pass over the flat parameter array.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

struct OptimizerStep {
    bool adam = false;  // else adamax
    double lr_t = 0;    // lr sqrt(1 - b2^t) / (1 - b1^t), warm-up included
    double beta1 = 0.9, beta2 = 0.999;
    double weight_decay = 0;    // d: w <- (1 - d) w - ...
    double gradient_scale = 1;  // clipping: g <- gradient_scale * g
    double ema_rate = 0;        // ema <- ema + (w - ema) * ema_rate, (1 - e) / (1 - e^t)
    // Moments in bf16: their roundings are those of stream `number` (the step) of this seed.
    std::uint64_t seed = 0, number = 0;
};

// What a step updates; ema may be nullptr.
template <class Moment>
struct OptimizerArrays {
    real* w;
    Moment *m, *v;
    real* ema;
    index_t first = 0;  // number of w[0] among all parameters
};
template <class Moment>
OptimizerArrays(real*, Moment*, Moment*, real*, index_t) -> OptimizerArrays<Moment>;
template <class Moment>
OptimizerArrays(real*, Moment*, Moment*, real*) -> OptimizerArrays<Moment>;

// The arrays are updated in place from the gradient g. Moment: real, or bfloat16, where
// m is rounded to the nearest value and v to one of its two neighbors at random, so that it is right on
// average: a decay by less than half a step of bf16 would be lost for ever by rounding to the nearest. first:
// the number of w[0] among all parameters, a multiple of 8; the random numbers follow it.
template <class Moment>
void optimizer_step(const Exec& exec, index_t count, const OptimizerStep& step, const real* g,
                    const OptimizerArrays<Moment>& arrays);

// The same amid a step, for a part of the parameters: *step lies in the device memory, for it changes
// from one replay of a recording to the next, and nothing is updated where *squares, those of g, are not
// finite.
template <class Moment>
void optimizer_step(const Exec& exec, index_t count, const OptimizerStep* step, const double* squares,
                    const real* g, const OptimizerArrays<Moment>& arrays);

// *result = sum of squares of x, in double (inf or NaN where x has one). partial: square_scratch() doubles.
void sum_of_squares(const Exec& exec, index_t count, const real* x, double* result, double* partial);
index_t square_scratch();

// *result = a number that changes with any one bit of x, the same on every machine. partial: square_scratch()
// doubles.
void checksum(const Exec& exec, index_t count, const real* x, double* result, double* partial);

}  // namespace glow::inline GLOW_REAL

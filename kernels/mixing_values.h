// W of the channel mixings and what is derived from it, for K consecutive steps of a level at once.
//
// Parameters of consecutive steps are `stride` elements apart, fixed tensors (permutation, signs)
// `fixed_stride` elements; derived values are contiguous.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// W of the plain invertible convolution, K matrices [C, C]: converts weight to double.
void dense_weight(const Exec& exec, index_t K, index_t C, index_t stride, const real* weight, double* W);

// Factors of W = P (L + I) (U + diag(sign exp(log_diag))) (paper section 3.2): row r of W is row
// permutation[r] of the product. Only the strict triangles of lower and upper are read.
struct LuFactors {
    const real* permutation;  // [C] fixed
    const real* sign;         // [C] fixed, 1 or -1
    const real* log_diag;     // [C]
    const real* lower;        // [C, C]
    const real* upper;        // [C, C]
};
void lu_weight(const Exec& exec, index_t K, index_t C, index_t stride, index_t fixed_stride,
               const LuFactors& factors, double* W);
// log_abs_det[k] = sum of log_diag, which avoids the rounding of the product.
void lu_log_determinant(const Exec& exec, index_t K, index_t C, index_t stride, const real* log_diag,
                        double* log_abs_det);

// Derived values of K steps.
struct MixingValues {
    double* W;               // [K, C, C]
    double* W_inverse;       // [K, C, C]
    double* M;               // [K, C, C] W diag(s)
    double* M_inverse;       // [K, C, C] diag(1/s) W^-1
    double* shift;           // [K, C] M b
    double* minus_bias;      // [K, C] -b
    double* mixing_logdet;   // [K] nats per image
    double* actnorm_logdet;  // [K] nats per image
    double* condition;       // [K] norm1(W) norm1(W^-1); inf: unusable

    // The values of steps k and later.
    MixingValues from(index_t k, index_t C) const {
        return {W + k * C * C,         W_inverse + k * C * C, M + k * C * C,
                M_inverse + k * C * C, shift + k * C,         minus_bias + k * C,
                mixing_logdet + k,     actnorm_logdet + k,    condition + k};
    }
};
// W of y_c = x[indices[c]], W_inverse, mixing_logdet = 0 and condition = 1. indices: fixed, [C] per step;
// nullptr: reversed channels.
void permutation_weight(const Exec& exec, index_t K, index_t C, index_t fixed_stride, const real* indices,
                        const MixingValues& values);

// The actnorm before the mixing; s = exp(3 logs).
struct ActnormParameters {
    const real* bias;  // [C]
    const real* logs;  // [C]
};
// M, shift, minus_bias and actnorm_logdet from W and the actnorm: everything forward needs.
void fold_mixing(const Exec& exec, index_t K, index_t C, index_t pixels, index_t stride,
                 const ActnormParameters& actnorm, const MixingValues& values);
// M_inverse from W_inverse and logs; mixing_logdet *= pixels (in: log|det W|); condition = inf if a bias or
// scale is out of range.
void fold_mixing_inverse(const Exec& exec, index_t K, index_t C, index_t pixels, index_t stride,
                         const ActnormParameters& actnorm, const MixingValues& values);

// x[n] += *value for n < N: a log-determinant equal for every image. The second form adds those of K steps.
void add_to_all(const Exec& exec, index_t N, const double* value, double* x);
void add_logdets_to_all(const Exec& exec, index_t N, index_t K, const MixingValues& values, double* x);

}  // namespace glow::inline GLOW_REAL

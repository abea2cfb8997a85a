// The state's affine maps per pixel, in double: actnorm folded into the channel mixing (architecture section
// 3). With s = exp(3 logs): y = W diag(s) (x + b) = M x + c, M = W diag(s), c = M b. Rows are pixels, [rows,
// C].
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// h <- M h + shift for every row, in place. M [C, C] (out, in), shift [C].
void affine_rows(const Exec& exec, index_t rows, index_t C, const double* M, const double* shift, state_t* h);

// dh <- M^T dh for every row, in place.
void affine_rows_gradient(const Exec& exec, index_t rows, index_t C, const double* M, real* dh);

// out [rows, C + 1] = (h, 1): the state rounded to real plus a column of ones, so that one matrix product
// dh^T out gives both dM and dc.
void cast_with_one(const Exec& exec, index_t rows, index_t C, const state_t* h, real* out);

// ---- W and derived values, for K consecutive steps of a level -------------------------------------
//
// Parameters of consecutive steps are `stride` elements apart, fixed tensors (permutation, signs)
// `fixed_stride` elements; derived values are contiguous.

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

// y_c = x[indices[c]] as a matrix, its inverse, log|det| = 0 and condition 1. indices: fixed, [C] per step;
// nullptr: reversed channels.
void permutation_weight(const Exec& exec, index_t K, index_t C, index_t fixed_stride, const real* indices,
                        double* W, double* W_inverse, double* log_abs_det, double* condition);

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
// M, shift, minus_bias and actnorm_logdet from W, bias and logs: everything forward needs.
void fold_mixing(const Exec& exec, index_t K, index_t C, index_t pixels, index_t stride, const real* bias,
                 const real* logs, const MixingValues& values);
// M_inverse from W_inverse and logs; mixing_logdet *= pixels (in: log|det W|); condition = inf if a bias or
// scale is out of range.
void fold_mixing_inverse(const Exec& exec, index_t K, index_t C, index_t pixels, index_t stride,
                         const real* bias, const real* logs, const MixingValues& values);

// x[n] += *value for n < N: a log-determinant equal for every image. The second form adds those of K steps.
void add_to_all(const Exec& exec, index_t N, const double* value, double* x);
void add_logdets_to_all(const Exec& exec, index_t N, index_t K, const MixingValues& values, double* x);

// ---- Parameter gradients -------------------------------------------------------------------------
//
// For y = W diag(s) (x + b), from dMc [C, C + 1] = (dM, dc), dM[o,i] = sum dy_o x_i, dc[o] = sum dy_o. With G
// = (dM + dc b^T) diag(s), the gradient of W is G + n W^-T, where n = dlogdet = (sum over images of
// dL/dlogdet) * H * W.

// dW += G + n W^-T.
void dense_weight_gradient(const Exec& exec, index_t C, const real* dMc, const double* W_inverse,
                           const real* bias, const real* logs, double dlogdet, real* dW);
// Through the factors. With A = L + I, B = U + D and dLU = P^T G: dlower += strict lower triangle of dLU B^T,
// dupper += strict upper triangle of A^T dLU, dlog_diag += diag(A^T dLU) D + n. scratch: C * C doubles.
void lu_gradient(const Exec& exec, index_t C, const real* dMc, const LuFactors& factors, const real* bias,
                 const real* logs, double dlogdet, double* scratch, real* dlog_diag, real* dlower,
                 real* dupper);
// db += M^T dc, dlogs += 3 sum_o G[o,i] W[o,i] + 3 n.
void actnorm_gradient(const Exec& exec, index_t C, const real* dMc, const double* W, const real* bias,
                      const real* logs, double dlogdet, real* dbias, real* dlogs);

// The complete backward over rows = N H W pixels in two kernels, if has_mixing_backward(): h: y -> x
// (unchanged if x is given), dh: dL/dy -> dL/dx, and gradients. partial: mixing_backward_scratch(rows, C)
// doubles.
struct MixingGradients {
    real* dMc;            // [C, C + 1] = (dM, dc), with x rounded to real; may be nullptr
    real* dW;             // [C, C] +=, like dense_weight_gradient(); may be nullptr
    real *dbias, *dlogs;  // [C] +=, like actnorm_gradient()
};
bool has_mixing_backward(const Exec& exec, index_t C);
index_t mixing_backward_scratch(index_t rows, index_t C);
void mixing_backward(const Exec& exec, index_t rows, index_t C, const MixingValues& values, state_t* h,
                     const state_t* x, real* dh, const real* bias, const real* logs, double dlogdet,
                     const MixingGradients& gradients, double* partial);

}  // namespace glow::inline GLOW_REAL

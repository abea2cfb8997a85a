// The state's affine maps per pixel: actnorm folded into the channel mixing (architecture section 3), in
// double. With s = exp(3 logs): y = W diag(s) (x + b) = M x + c, M = W diag(s), c = M b. Rows are pixels,
// [rows, C].
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// h <- M h + shift for every row, in place. M [C, C] (out, in), shift [C].
void affine_rows(const Place& place, index_t rows, index_t C, const double* M, const double* shift,
                 state_t* h);

// dh <- M^T dh for every row, in place.
void affine_rows_gradient(const Place& place, index_t rows, index_t C, const double* M, real* dh);

// out [rows, C + 1] = (h, 1): the state rounded to real beside a column of ones, so that one matrix product
// dh^T out gives both dM and dc.
void cast_with_one(const Place& place, index_t rows, index_t C, const state_t* h, real* out);

// Parameter gradients of y = W diag(s) (x + b) from dMc [C, C + 1] = (dM, dc), dM[o,i] = sum dy_o x_i, dc[o]
// = sum dy_o: with G = dM + dc b^T, dW += G diag(s) + n W^-T, db += M^T dc, dlogs += 3 s_i sum_o G[o,i]
// W[o,i] + 3 n, where n = dlogdet = (sum over images of dL/dlogdet) * H * W. All of W, W_inverse, bias, logs
// in their parameters' layout.
void unfold_mixing(const Place& place, index_t C, const real* dMc, const real* W, const double* W_inverse,
                   const real* bias, const real* logs, double dlogdet, real* dW, real* dbias, real* dlogs);

}  // namespace glow::inline GLOW_REAL

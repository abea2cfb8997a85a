// The state's affine maps per pixel, in double: actnorm folded into the channel mixing. With s = exp(3 logs):
// y = W diag(s) (x + b) = M x + c, M = W diag(s), c = M b. Rows are pixels, [rows, C].
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

}  // namespace glow::inline GLOW_REAL

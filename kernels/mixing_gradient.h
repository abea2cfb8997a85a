// Gradients of a step's actnorm and mixing.
//
// For y = W diag(s) (x + b) they follow from dMc [C, C + 1] = (dM, dc), sums over all pixels:
// dM[o,i] = sum dy_o x_i, dc[o] = sum dy_o. The gradient of W is G + n W^-T, with
// G = (dM + dc b^T) diag(s) and n = dlogdet = (sum over images of dL/dlogdet) * H * W.
#pragma once

#include "kernels/actnorm_fold.h"
#include "kernels/mixing_values.h"

namespace glow::inline GLOW_REAL {

// dW += G + n W^-T.
void dense_weight_gradient(const Exec& exec, index_t C, const real* dMc, const double* W_inverse,
                           const ActnormParameters& actnorm, double dlogdet, real* dW);

// Gradients of the LU factors. With A = L + I, B = U + D and dLU = P^T G: lower += strict lower triangle of
// dLU B^T, upper += strict upper triangle of A^T dLU, log_diag += diag(A^T dLU) D + n. scratch: C * C
// doubles.
struct LuGradients {
    real* log_diag;  // [C]
    real* lower;     // [C, C]
    real* upper;     // [C, C]
};
void lu_gradient(const Exec& exec, index_t C, const real* dMc, const LuFactors& factors,
                 const ActnormParameters& actnorm, double dlogdet, double* scratch,
                 const LuGradients& gradients);

// bias += M^T dc, logs += 3 sum_o G[o,i] W[o,i] + 3 n.
struct ActnormGradients {
    real* bias;  // [C]
    real* logs;  // [C]
};
void actnorm_gradient(const Exec& exec, index_t C, const real* dMc, const double* W,
                      const ActnormParameters& actnorm, double dlogdet, const ActnormGradients& gradients);

// All of the layer's backward in two kernels, if has_mixing_backward().
struct MixingRows {
    index_t count;     // N H W
    state_t* h;        // [count, C] y -> x; not read if x is given
    const state_t* x;  // [count, C] or nullptr
    real* dh;          // [count, C] dL/dy -> dL/dx
};
struct MixingGradients {
    real* dMc;                 // [C, C + 1] = (dM, dc), with x rounded to real; may be nullptr
    real* dW;                  // [C, C] +=, like dense_weight_gradient(); may be nullptr
    ActnormGradients actnorm;  // +=, like actnorm_gradient()
};
bool has_mixing_backward(const Exec& exec, index_t C);
index_t mixing_backward_scratch(index_t rows, index_t C);
// partial: mixing_backward_scratch(rows.count, C) elements. network: unless nullptr, the second kernel also
// runs unfold_network() for it.
void mixing_backward(const Exec& exec, index_t C, const MixingRows& rows, const MixingValues& values,
                     const ActnormParameters& actnorm, double dlogdet, const MixingGradients& gradients,
                     real* partial, const NetworkUnfolding* network = nullptr);

}  // namespace glow::inline GLOW_REAL

// The pointwise half of the coupling layers. h [rows, C] is the state, rows = N * rows_per_image pixels; a =
// first C/2 channels (unchanged), b = last C/2. `out` is the network's output: [rows, C] for affine (shift =
// out[2c], scale = coupling_scale(out[2c+1])), [rows, C/2] for additive.
#pragma once

#include "kernels/base.h"
#include "kernels/coupling_scale.h"

namespace glow::inline GLOW_REAL {

// The network's output, and the form of its scales.
struct AffineOutput {
    CouplingScale scale;
    const real* out;
};

// b <- (b + shift) * scale; logdet[n] += sum of log scale over image n (nats).
void affine_coupling_forward(const Exec& exec, index_t N, index_t rows_per_image, index_t C,
                             const AffineOutput& output, state_t* h, double* logdet, double* partial);
// b <- b / scale - shift.
void affine_coupling_inverse(const Exec& exec, index_t rows, index_t C, const AffineOutput& output,
                             state_t* h);
// h: y -> x and dh: dL/dy -> dL/dx in the b half; dout = dL/dout (overwrites). dlogdet = dL/dlogdet, equal
// for every image.
void affine_coupling_backward(const Exec& exec, index_t rows, index_t C, double dlogdet,
                              const AffineOutput& output, real* dout, state_t* h, real* dh);

// b <- b + out; b <- b - out; and the backward of the first (h: y -> x, dout = dL/dout, overwrites; dh is
// unchanged).
void additive_coupling_forward(const Exec& exec, index_t rows, index_t C, const real* out, state_t* h);
void additive_coupling_inverse(const Exec& exec, index_t rows, index_t C, const real* out, state_t* h);
void additive_coupling_backward(const Exec& exec, index_t rows, index_t C, const real* out, real* dout,
                                state_t* h, const real* dh);

// Input [rows, C/2 + E] of a conditional coupling's network: a of the state h [rows, C], then the condition
// [rows, E].
void join_condition(const Exec& exec, index_t rows, index_t C, index_t E, const state_t* h,
                    const real* condition, state_t* input);
// Backward of join_condition(): dh of a and dcondition [rows, E] += their parts of dinput.
void join_condition_backward(const Exec& exec, index_t rows, index_t C, index_t E, const real* dinput,
                             real* dh, real* dcondition);

}  // namespace glow::inline GLOW_REAL

// First and last operation of variational dequantization: drawing standard normal numbers eps, and adding the
// noise u = sigmoid(logits) to pixels. States and logits are [N, D], D = H*W*C. log q(u) = log N(eps) -
// log|det df/deps| - sum of log(u (1 - u)); these kernels compute the first and the last term, in nats, for
// minus_log_q [N].
#pragma once

#include "kernels/dequantize.h"

namespace glow::inline GLOW_REAL {

// eps[n, i] = standard normal numbers of Philox stream (noise.seed, noise.purpose, noise.item[n]).
// minus_log_q[n] = -log N(eps). partial: group_scratch(N) doubles.
void normal_noise(const Exec& exec, index_t N, index_t D, const Noise& noise, state_t* eps,
                  double* minus_log_q, double* partial);

// Drift of a reconstructed eps: difference[n] = max(difference[n], max over i of |eps[n, i] - number drawn|),
// inf if an eps is not finite. partial: group_scratch(N) doubles.
void normal_noise_difference(const Exec& exec, index_t N, index_t D, const Noise& noise, const state_t* eps,
                             double* difference, double* partial);

// h: logits -> (floor(pixel / 2^(8 - n_bits)) + sigmoid(logit)) / 2^n_bits - 1/2; minus_log_q[n] += sum of
// log(u (1 - u)). saved: receives the logits, unless nullptr. partial: group_scratch(N) doubles.
void dequantize_by_logits(const Exec& exec, const Pixels& pixels, state_t* h, state_t* saved,
                          double* minus_log_q, double* partial);

// difference[n] = largest error of reconstructed image h [N, D]; see dequantize_difference().
void dequantize_by_logits_difference(const Exec& exec, const Pixels& pixels, const state_t* logits,
                                     const state_t* h, double* difference, double* partial);

// dh [count]: dL/dx -> dL/dlogits, where L includes dlogp * minus_log_q.
void dequantize_by_logits_backward(const Exec& exec, index_t count, int n_bits, double dlogp,
                                   const state_t* logits, real* dh);

}  // namespace glow::inline GLOW_REAL

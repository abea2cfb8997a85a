// Folding the coupling network's actnorms into its convolutions' weights, and the gradient's way back. Map is
// the storage type of the folded weights: real or bfloat16.
#pragma once

#include <span>

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// A convolution followed by actnorm, y = (W x + b) s with s = exp(3 logs): folded[o, k] = s_o W[o, k] for
// k < K, then (where stride > K) s_o b_o in column K, zeros up to stride.
void fold_actnorm(const Exec& exec, index_t out, index_t K, index_t stride, const real* W, const real* bias,
                  const real* logs, real* folded);

// Gradients through fold_actnorm, from those of the folded weights (dfolded [out, stride]) and folded bias
// (its column K, or dfolded_bias): dW[o,k] += s dfolded[o,k], dbias += s dc, dlogs += 3 (sum_k dfolded W s +
// dc s b).
void unfold_actnorm(const Exec& exec, index_t out, index_t K, index_t stride, const real* W,
                    const real* bias, const real* logs, const real* dfolded, const real* dfolded_bias,
                    real* dW, real* dbias, real* dlogs);

// The last convolution's weight [C, 9, w + edge] as a matrix [rows, w] for products, row tap * C + c or
// c * 9 + tap (zeros from 9 C on; the edge channel's entries are left out). unpack_taps(): the gradient's way
// back, dW += (the edge channel's entries are left alone).
enum class TapOrder { taps_first, outputs_first };
void unpack_taps(const Exec& exec, index_t C, index_t w, bool edge, TapOrder order, const real* dpacked,
                 real* dW);

// The weights of coupling networks of equal shape (those of a level) as they are multiplied. What is read are
// the parameters of the first, W1 [w, K], W2 [w, w], each with bias and logs [w], W3 [C, 9, w + edge], logs3
// [C]; the next one's lie `step` elements behind. What is written lies one network after the other: conv1
// [w, stride] and conv2 [w, w] as of fold_actnorm(), bias2 [w] every bias_step elements, conv3 [rows3, w] as
// above, scale3 [C] = exp(3 logs3).
template <class Map>
struct NetworkFolding {
    index_t networks, step, w, K, stride, C, rows3;
    bool edge;
    TapOrder order;
    const real *W1, *bias1, *logs1, *W2, *bias2, *logs2, *W3, *logs3;
    Map *conv1, *conv2, *conv3;
    real* bias2_folded;
    index_t bias_step;
    double* scale3;
};
// Of all levels, at most kMostFoldings, in one kernel.
inline constexpr std::size_t kMostFoldings = 15;
template <class Map>
void fold_networks(const Exec& exec, std::span<const NetworkFolding<Map>> levels);

}  // namespace glow::inline GLOW_REAL

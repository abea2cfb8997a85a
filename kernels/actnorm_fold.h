// Folds the coupling network's actnorms into its convolution weights, and computes the gradient through that.
// Map is the storage type of the folded weights: real or bfloat16.
#pragma once

#include <span>

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// A convolution followed by actnorm, y = (W x + b) s with s = exp(3 logs): folded[o, k] = s_o W[o, k] for k <
// K, then (if stride > K) s_o b_o in column K, zeros up to stride.
void fold_actnorm(const Exec& exec, index_t out, index_t K, index_t stride, const real* W, const real* bias,
                  const real* logs, real* folded);

// Gradients through fold_actnorm(), from those of the folded weights (dfolded [out, stride]) and folded bias
// (its column K, or dfolded_bias): dW[o,k] += s dfolded[o,k], dbias += s dc, dlogs += 3 (sum_k dfolded W s +
// dc s b).
struct ActnormUnfolding {
    index_t out, K, stride;
    const real *W, *bias, *logs;
    const real *dfolded, *dfolded_bias;
    real *dW, *dbias, *dlogs;
};
void unfold_actnorm(const Exec& exec, const ActnormUnfolding& unfolding);

// The last convolution's weight [C, 9, w + edge] as a matrix [rows, w] for products, row tap * C + c or
// c * 9 + tap (rows from 9 C on are zero; without the edge channel's entries). Backward: dW += dpacked unless
// nullptr. Unless `sums` is nullptr, it holds the sums of kernels/taps.h for each of N images: dbias +=
// sum of dpre, dlogs += 3 times that of dout * out, and the edge channel's dW += sum of dpre at pixels whose
// tap is outside the image.
enum class TapOrder { taps_first, outputs_first };
struct OutputUnfolding {
    index_t C, w;
    bool edge;
    TapOrder order;
    const real* dpacked;
    const double* sums;  // [output_sums(edge) * C, N]
    index_t N;
    real *dW, *dbias, *dlogs;
};
// The gradients of a coupling network's three convolutions; an empty member is not unfolded.
struct NetworkUnfolding {
    ActnormUnfolding conv1 = {}, conv2 = {};
    OutputUnfolding conv3 = {};
};
// In one kernel on a GPU.
void unfold_network(const Exec& exec, const NetworkUnfolding& network);

// Folded weights of coupling networks of equal shape (one level). Reads the first network's parameters W1 [w,
// K], W2 [w, w], each with bias and logs [w], W3 [C, 9, w + edge] and logs3 [C]; those of the next are `step`
// elements further. Writes the networks consecutively: conv1 [w, stride] and conv2 [w, w] as in
// fold_actnorm(), bias2 [w], also rounded, every bias_step elements, conv3 [rows3, w] as above, scale3 [C] =
// exp(3 logs3).
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
    Map* bias2_rounded = nullptr;  // bias2 in the products' type; nullptr: not needed
};
// Folds all levels, at most kMaxFoldings, in one kernel.
inline constexpr std::size_t kMaxFoldings = 17;
template <class Map>
void fold_networks(const Exec& exec, std::span<const NetworkFolding<Map>> levels);

}  // namespace glow::inline GLOW_REAL

// Pointwise parts of the coupling network: folding its actnorms into its weights and back, the ReLU mask, the
// statistics of data-dependent initialisation. Map is the storage type of the hidden maps: real or bfloat16.
#pragma once

#include <span>

#include "kernels/base.h"
#include "kernels/convolution.h"

namespace glow::inline GLOW_REAL {

// A convolution followed by actnorm, y = (W x + b) s with s = exp(3 logs): folded[o, k] = s_o W[o, k] for
// k < K, then (where stride > K) s_o b_o in column K, zeros up to stride.
void fold_actnorm(const Place& place, index_t out, index_t K, index_t stride, const real* W, const real* bias,
                  const real* logs, real* folded);

// Gradients through fold_actnorm, from those of the folded weights (dfolded [out, stride]) and folded bias
// (its column K, or dfolded_bias): dW[o,k] += s dfolded[o,k], dbias += s dc, dlogs += 3 (sum_k dfolded W s +
// dc s b).
void unfold_actnorm(const Place& place, index_t out, index_t K, index_t stride, const real* W,
                    const real* bias, const real* logs, const real* dfolded, const real* dfolded_bias,
                    real* dW, real* dbias, real* dlogs);

// The last convolution's weight [C, 9, w + edge] as a matrix [rows, w] for products, row tap * C + c or
// c * 9 + tap (zeros from 9 C on; the edge channel's entries are left out). unpack_taps(): the gradient's way
// back, dW += (the edge channel's entries are left alone).
enum class TapOrder { taps_first, outputs_first };
void unpack_taps(const Place& place, index_t C, index_t w, bool edge, TapOrder order, const real* dpacked,
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
void fold_networks(const Place& place, std::span<const NetworkFolding<Map>> levels);

// dmap <- dmap where map > 0, else 0 (relu'(0) = 0); sums[c] += its column sums where sums is not nullptr.
// [rows, C]; partial: column_scratch(1, C) doubles, unused without sums.
template <class Map>
void relu_backward(const Place& place, index_t rows, index_t C, const Map* map, Map* dmap, real* sums,
                   double* partial);

// moments[c] += sum of x, moments[C + c] += sum of x^2 over rows; x has `stride` elements a row, T real or
// state_t. partial: column_scratch(2, C) doubles.
template <class T>
void add_moments(const Place& place, index_t rows, index_t C, const T* x, index_t stride, double* moments,
                 double* partial);
// Data-dependent initialisation (spec section 1) from the moments of `count` rows: bias = -mean,
// 3 logs = -log(s + 1e-6), s = sqrt(mean((x + bias)^2)).
void actnorm_from_moments(const Place& place, double count, index_t C, const double* moments, real* bias,
                          real* logs);

// values[i] = value.
template <class T>
void fill(const Place& place, index_t count, T value, T* values);
template <class T>
void copy(const Place& place, index_t count, const T* from, T* to);

}  // namespace glow::inline GLOW_REAL

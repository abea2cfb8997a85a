// Pointwise parts of the coupling network: folding its actnorms into its weights and back, the ReLU mask, the
// statistics of data-dependent initialisation. Map is the storage type of the hidden maps: real or bfloat16.
#pragma once

#include "kernels/base.h"
#include "kernels/convolution.h"

namespace glow::inline GLOW_REAL {

// A hidden convolution followed by actnorm, y = (W x + b) s with s = exp(3 logs): folded[o, k] = s_o W[o, k]
// for k < K, then (where stride > K) s_o b_o in column K, zeros up to stride. folded_bias[o] = s_o b_o where
// it is not nullptr.
template <class Map>
void fold_actnorm(const Place& place, index_t out, index_t K, index_t stride, const real* W, const real* bias,
                  const real* logs, Map* folded, real* folded_bias);

// The same of successive layers whose parameters lie `step` elements apart: matrices one after the other,
// biases `bias_step` elements apart.
template <class Map>
void fold_actnorms(const Place& place, index_t layers, index_t step, index_t out, index_t K, index_t stride,
                   const real* W, const real* bias, const real* logs, Map* folded, real* folded_bias,
                   index_t bias_step);

// Gradients through fold_actnorm, from those of the folded weights (dfolded [out, stride]) and folded bias
// (its column K, or dfolded_bias): dW[o,k] += s dfolded[o,k], dbias += s dc, dlogs += 3 (sum_k dfolded W s +
// dc s b).
void unfold_actnorm(const Place& place, index_t out, index_t K, index_t stride, const real* W,
                    const real* bias, const real* logs, const real* dfolded, const real* dfolded_bias,
                    real* dW, real* dbias, real* dlogs);

// The last convolution's weight [C, 9, w + edge] as the matrix [stride, w], row tap * C + c or c * 9 + tap
// (zeros from 9 C on), and the gradient's way back: dW += (the edge channel's entries are left alone).
enum class TapOrder { taps_first, outputs_first };
template <class Map>
void pack_taps(const Place& place, index_t C, index_t w, bool edge, TapOrder order, index_t stride,
               const real* W, Map* packed);
void unpack_taps(const Place& place, index_t C, index_t w, bool edge, TapOrder order, const real* dpacked,
                 real* dW);
// Of successive layers, as fold_actnorms().
template <class Map>
void pack_all_taps(const Place& place, index_t layers, index_t step, index_t C, index_t w, bool edge,
                   TapOrder order, index_t stride, const real* W, Map* packed);

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

// ReLU behind a matrix product, where the vendor's library does not do it itself, and its gradient.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// C <- max(C + bias, 0), C [m, n] with rows `stride` elements apart; bias [n] or nullptr.
template <class T, class Bias>
void bias_relu(const Exec& exec, index_t m, index_t n, index_t stride, const Bias* bias, T* C);

// dmap <- dmap where map > 0, else 0 (relu'(0) = 0); sums[c] += its column sums where sums is not nullptr.
// [rows, C]; partial: column_scratch(1, C) doubles, unused without sums.
template <class Map>
void relu_backward(const Exec& exec, index_t rows, index_t C, const Map* map, Map* dmap, real* sums,
                   double* partial);

}  // namespace glow::inline GLOW_REAL

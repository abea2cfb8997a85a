// ReLU after a matrix product, for libraries without a fused epilogue, and its gradient.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// C <- max(C + bias, 0), C [m, n] with row stride `stride`; bias [n] or nullptr.
template <class T, class Bias>
void bias_relu(const Exec& exec, index_t m, index_t n, index_t stride, const Bias* bias, T* C);

// dmap <- dmap where map > 0, otherwise 0 (relu'(0) = 0). If sums is not nullptr, sums[c] += column sums of
// the new dmap. [rows, C]; partial: column_scratch(1, C) doubles, unused without sums.
template <class Map>
void relu_backward(const Exec& exec, index_t rows, index_t C, const Map* map, Map* dmap, real* sums,
                   double* partial);

}  // namespace glow::inline GLOW_REAL

// ReLU after a matrix product, for libraries without a fused epilogue, and its gradient.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// C <- max(C + bias, 0), C [m, n] with row stride `stride`; bias [n] or nullptr.
template <class T, class Bias>
void bias_relu(const Exec& exec, index_t m, index_t n, index_t stride, const Bias* bias, T* C);

// dmap <- dmap where map > 0, else 0 (relu'(0) = 0). [rows, C].
template <class Map>
void relu_backward(const Exec& exec, index_t rows, index_t C, const Map* map, Map* dmap);
// The same, and sums[c] = or += its column sums. partial: column_scratch(1, C) doubles.
template <class Map>
void relu_backward_sums(const Exec& exec, index_t rows, index_t C, const Map* map, Map* dmap, bool accumulate,
                        real* sums, double* partial);

}  // namespace glow::inline GLOW_REAL

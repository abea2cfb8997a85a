// ReLU after a matrix product, for libraries without a fused epilogue, and its gradient.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// C <- max(C + bias, 0), C [m, n] with row stride `stride`; bias [n] or nullptr.
template <class T, class Bias>
void bias_relu(const Exec& exec, index_t m, index_t n, index_t stride, const Bias* bias, T* C);

// Column sums whose last stage is left to a later kernel: parts of them are in `partial`.
struct UnfinishedSums {
    index_t C = 0;  // 0: nothing is left
    bool accumulate = false;
    const double* partial = nullptr;
    real* sums = nullptr;  // [C], = or +=
};

// dmap <- dmap where map > 0, else 0 (relu'(0) = 0). [rows, C]. Also finishes `sums`, which must not depend on
// dmap, in the same kernel on a GPU.
template <class Map>
void relu_backward(const Exec& exec, index_t rows, index_t C, const Map* map, Map* dmap,
                   const UnfinishedSums& sums = {});
// The same, and sums[c] = or += its column sums. partial: column_scratch(1, C) doubles.
template <class Map>
void relu_backward_sums(const Exec& exec, index_t rows, index_t C, const Map* map, Map* dmap, bool accumulate,
                        real* sums, double* partial);
// The same, but on a GPU leaves the last stage of the sums to finish_relu_backward_sums(), or to relu_backward()
// of a map with elements of the same type. `partial` must not change until then.
template <class Map>
UnfinishedSums start_relu_backward_sums(const Exec& exec, index_t rows, index_t C, const Map* map, Map* dmap,
                                        bool accumulate, real* sums, double* partial);
template <class Map>
void finish_relu_backward_sums(const Exec& exec, const UnfinishedSums& sums);

}  // namespace glow::inline GLOW_REAL

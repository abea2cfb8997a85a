// Squeeze and split: permutations of the state and its gradient. `scratch` may be shared between calls. T is
// state_t or real.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// [N, H, W, C] -> [N, H/2, W/2, 4C], output channel c*4 + dy*2 + dx (spec section 1). In place; H, W, C are
// the sizes before the squeeze. scratch: N*H*W*C elements, overwritten.
template <class T>
void squeeze(const Exec& exec, index_t N, index_t H, index_t W, index_t C, T* h, T* scratch);

// The inverse of squeeze. H, W, C are also the sizes before the squeeze.
template <class T>
void unsqueeze(const Exec& exec, index_t N, index_t H, index_t W, index_t C, T* h, T* scratch);

// h [rows, C] -> first halves of all rows [rows, C/2], then second halves [rows, C/2]. In place.
// scratch: rows*C elements, overwritten.
template <class T>
void split_halves(const Exec& exec, index_t rows, index_t C, T* h, T* scratch);

// The inverse of split_halves.
template <class T>
void merge_halves(const Exec& exec, index_t rows, index_t C, T* h, T* scratch);

}  // namespace glow::inline GLOW_REAL

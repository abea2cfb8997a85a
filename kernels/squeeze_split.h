// Squeeze and split: permutations of the state and its gradient. `scratch` may be shared between calls. T is
// state_t or real.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// A 2x2 block of channel c: its element i = dy*2 + dx is before(i) in [N, H, W, C] and after(i) in
// [N, H/2, W/2, 4C], in channel c*4 + i. q = n * (H/2) + y: row of blocks; x: block of the row.
struct SqueezeBlock {
    index_t corner, first;  // of element 0, before and after
    index_t row, pixel;     // steps of dy and dx before the squeeze
    GLOW_HD SqueezeBlock(index_t W, index_t C, index_t q, index_t x, index_t c)
        : corner((2 * q * W + 2 * x) * C + c), first(((q * (W / 2) + x) * C + c) * 4), row(W * C), pixel(C) {}
    GLOW_HD index_t before(int i) const { return corner + (i >> 1) * row + (i & 1) * pixel; }
    GLOW_HD index_t after(int i) const { return first + i; }
};

// [N, H, W, C] -> [N, H/2, W/2, 4C], block by block. In place; H, W, C are the sizes before the squeeze.
// scratch: N*H*W*C elements, overwritten.
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

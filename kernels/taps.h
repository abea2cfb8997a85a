// Taps of 3x3 convolutions: which taps of a pixel lie inside its image, and the sums over pixels that give
// the gradients of bias, logs and edge weights of a coupling network's last convolution.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// Bit kh * 3 + kw: pixel (y + kh - 1, x + kw - 1), or (y - kh + 1, x - kw + 1) with sign -1.
inline constexpr unsigned kAllTaps = 0x1ff;
template <class Index>
GLOW_HD inline unsigned image_taps(Index H, Index W, Index sign, Index y, Index x) {
    const bool above = y > 0, below = y + 1 < H, left = x > 0, right = x + 1 < W;
    const bool first_row = sign > 0 ? above : below, last_row = sign > 0 ? below : above;
    const bool first_column = sign > 0 ? left : right, last_column = sign > 0 ? right : left;
    return ((first_row ? 0x007u : 0u) | 0x038u | (last_row ? 0x1c0u : 0u)) &
           ((first_column ? 0x049u : 0u) | 0x092u | (last_column ? 0x124u : 0u));
}

// Kinds of sums for each output channel: dpre; dout * out; and, with an edge channel, for each of the nine
// taps, dpre at pixels whose tap lies outside the image. Arrays are [kind, output].
enum OutputSum : int { kBiasSum, kLogsSum, kFirstEdgeSum };
GLOW_HD constexpr int output_sums(bool edge) {
    return kFirstEdgeSum + (edge ? 9 : 0);
}

}  // namespace glow::inline GLOW_REAL

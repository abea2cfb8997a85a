// ReLU behind a matrix product with a mask of its signs, a bit an element, and the mask's use in backward: where the
// vendor's library does not do them itself.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// Masks have rows of whole 128-bit words, as cuBLASLt wants them. Bytes of a row of n elements.
constexpr index_t mask_row_bytes(index_t n) {
    return round_up(n, 128) / 8;
}

// C <- max(C + bias, 0), C [m, n] with rows `stride` elements apart; bias [n] or nullptr. Bit j of row i of mask
// [m, mask_row_bytes(n)] is set where the sum is above 0.
template <class T, class Bias>
void bias_relu_mask(const Exec& exec, index_t m, index_t n, index_t stride, const Bias* bias, T* C,
                    std::uint8_t* mask);

// C <- C where the bit is set, else 0.
template <class T>
void apply_relu_mask(const Exec& exec, index_t m, index_t n, index_t stride, const std::uint8_t* mask, T* C);

}  // namespace glow::inline GLOW_REAL

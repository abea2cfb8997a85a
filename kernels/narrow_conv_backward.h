// Backward of a coupling network's first and last convolution, each with its adjacent ReLU, as one kernel of
// bf16 matrix products for GPUs (layers/conv3x3.h has the convolutions as products). Reads a wide map once,
// instead of once for each product and for ReLU's gradient.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// The last convolution, and the ReLU before it.
struct OutputConvBackward {
    index_t rows, taps, width;  // pixels, and inner sizes below
    const bfloat16* dtaps;      // [rows, taps]
    const bfloat16* weight;     // [taps, width]
    const bfloat16* hidden;     // [rows, width] ReLU's results
    bfloat16* dhidden;          // [rows, width] = dtaps weight where hidden > 0, else 0; may be `hidden`
    bool accumulate;            // sums += instead of =
    real* dweight;              // [taps, width] sum of dtaps^T hidden
    real* dbias;                // [width] sum of the rows of dhidden, as rounded
};

// The first convolution, and the ReLU after it. G = dhidden where hidden > 0, else 0.
struct InputConvBackward {
    index_t rows, columns, width;
    const bfloat16* hidden;    // [rows, width] ReLU's results
    const bfloat16* dhidden;   // [rows, width] their gradient
    const bfloat16* expanded;  // [rows, columns] the input's im2col
    const bfloat16* weight;    // [width, columns]
    real* dexpanded;           // [rows, columns] = G weight
    bool accumulate;           // dweight += instead of =
    real* dweight;             // [width, columns] sum of G^T expanded
};

// Whether a kernel handles these sizes. Both need a GPU; with Exec::tensor_cores a CPU runs plain loops, for
// tests of the callers.
bool output_conv_backward_fits(const Exec& exec, index_t taps, index_t width);
bool input_conv_backward_fits(const Exec& exec, index_t columns, index_t width);

// Elements of scratch.
index_t output_conv_backward_scratch(index_t rows, index_t taps, index_t width);
index_t input_conv_backward_scratch(index_t rows, index_t columns, index_t width);

// Sums are in float, in an order that depends on the sizes only.
void output_conv_backward(const Exec& exec, const OutputConvBackward& problem, real* scratch);
void input_conv_backward(const Exec& exec, const InputConvBackward& problem, real* scratch);

}  // namespace glow::inline GLOW_REAL

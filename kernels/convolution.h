// Parts of 3x3 convolutions as matrix products (layers/conv3x3.h): im2col, col2im, and the bias and scale of
// the zero-initialized convolution. Images are [N, H, W, C]. Image row y of image n has number q = n * H + y;
// calls work on image rows [begin, end), so that buffers for large images stay small. A tap is a position of
// the 3x3 kernel: tap = kh * 3 + kw.
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

struct ImageRows {
    index_t H, W;
    index_t begin, end;
    index_t pixels() const { return (end - begin) * W; }
    static ImageRows of_images(index_t N, index_t H, index_t W) { return {H, W, 0, N * H}; }
};

// Columns of an im2col row: 9 taps x (C channels, then the edge channel if `edge`), a constant 1 if `one`
// (multiplies the bias), zeros up to `stride`.
struct Columns {
    index_t C;
    bool edge, one;
    index_t stride;
    index_t per_tap() const { return C + (edge ? 1 : 0); }
};

// The pixel at a tap of pixel (y, x): (y + kh - 1, x + kw - 1), as in a convolution, or mirrored
// (y - kh + 1, x - kw + 1), as in the gradient of its input.
enum class Taps { direct, mirrored };

// columns[(q - begin) * W + x, tap * per_tap + c] = source[pixel at the tap, c], 0 outside the image; the
// edge channel is 1 outside and 0 inside. source: [N*H*W] pixels with stride source_stride, type S (state_t
// or real); columns: Map (real or bfloat16).
template <class S, class Map>
void im2col(const Exec& exec, const ImageRows& rows, const Columns& layout, Taps taps, const S* source,
            index_t source_stride, Map* columns);

// target[pixel, c] += sum over taps of columns[pixel at the tap, tap * per_tap + c], for taps whose pixel is
// inside the image and in [begin, end). Ignores the edge channel. columns are real; target: [N*H*W] pixels
// with stride target_stride.
void col2im(const Exec& exec, const ImageRows& rows, const Columns& layout, Taps taps, const real* columns,
            real* target, index_t target_stride);

// scale[c] = exp(3 logs[c]), for the next two functions.
void exp_scale(const Exec& exec, index_t C, const real* logs, double* scale);
// Output of a zero-initialized convolution, in place: out <- (out + edge + bias) scale, [rows, C]. edge:
// edge_weight[(c * 9 + tap) * edge_stride] for each tap outside the image; edge_weight is nullptr without an
// edge channel or if `out` already includes it.
void zero_convolution_finish(const Exec& exec, const ImageRows& rows, index_t C, const real* edge_weight,
                             index_t edge_stride, const real* bias, const double* scale, real* out);
struct OutputGradients {
    real* bias;  // [C]; may be nullptr
    real* logs;  // [C]
};
// Backward of zero_convolution_finish, for out and dout [rows, C]: dout <- dout scale, called dpre below;
// bias += sum dpre; logs += 3 sum dout * out. partial: column_scratch(2, C) doubles.
void zero_convolution_backward(const Exec& exec, index_t rows, index_t C, const double* scale,
                               const real* out, real* dout, const OutputGradients& gradients,
                               double* partial);
// dedge_weight[(c * 9 + tap) * edge_stride] += sum of dpre over pixels whose tap is outside the image.
// images: from ImageRows::of_images(); dpre [N, H, W, C]. partial: column_scratch(9, C) doubles.
void edge_weight_backward(const Exec& exec, const ImageRows& images, index_t C, const real* dpre,
                          real* dedge_weight, index_t edge_stride, double* partial);

}  // namespace glow::inline GLOW_REAL

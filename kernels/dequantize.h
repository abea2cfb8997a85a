// Pixels to real numbers and back (spec section 1). Images are [N, D] bytes, D = H*W*C; states are [N, D].
#pragma once

#include "kernels/base.h"
#include "kernels/philox.h"

namespace glow::inline GLOW_REAL {

// Noise of image n: uniform numbers of Philox stream (seed, purpose, item[n]), or 1/2 where uniform is false.
struct Noise {
    bool uniform = true;
    std::uint64_t seed = 0;
    Purpose purpose = Purpose::dequantize;
    const std::uint64_t* item = nullptr;  // [N], where the kernel runs; unused without uniform
};

// Images [N, D] of pixels, whose n_bits upper bits the model sees.
struct Pixels {
    index_t N, D;
    int n_bits;
    const std::uint8_t* values;
};

// h[n, i] = (floor(pixel / 2^(8 - n_bits)) + u) / 2^n_bits - 1/2.
void dequantize(const Exec& exec, const Pixels& pixels, const Noise& noise, state_t* h);

// difference[n] = max over i of |h[n, i] - dequantized pixel| (inf where h is NaN): the drift of a rebuilt
// input. partial: group_scratch(N) doubles.
void dequantize_difference(const Exec& exec, const Pixels& pixels, const Noise& noise, const state_t* h,
                           double* difference, double* partial);

// largest[n] = max over i of |h[n, i]|, inf where one of them is not finite or above 1e300. partial:
// group_scratch(N) doubles.
void largest_values(const Exec& exec, index_t N, index_t D, const state_t* h, double* largest,
                    double* partial);

// pixels = clip(floor((h + 1/2) 2^n_bits) 2^(8 - n_bits), 0, 255); a NaN becomes 0.
void quantize(const Exec& exec, index_t count, int n_bits, const state_t* h, std::uint8_t* pixels);

}  // namespace glow::inline GLOW_REAL

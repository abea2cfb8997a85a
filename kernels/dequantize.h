// Conversion between pixels and real numbers. Images are [N, D] bytes, D = H*W*C; states are [N, D].
#pragma once

#include "kernels/base.h"
#include "kernels/enum_names.h"
#include "kernels/philox.h"

namespace glow {

// Noise added to pixels: uniform in the bin, 1/2, or drawn by a model of the noise (layers/dequantizer.h).
enum class Dequantization { uniform, center, variational };

template <>
struct EnumNames<Dequantization> {
    static constexpr const char* what = "dequantization";
    static constexpr EnumName<Dequantization> values[] = {{Dequantization::uniform, "uniform"},
                                                          {Dequantization::center, "center"},
                                                          {Dequantization::variational, "variational"}};
};

}  // namespace glow

namespace glow::inline GLOW_REAL {

// Noise of image n: from Philox stream (seed, purpose, item[n]), or the constant 1/2.
struct Noise {
    Dequantization kind = Dequantization::uniform;
    std::uint64_t seed = 0;
    Purpose purpose = Purpose::dequantize;
    const std::uint64_t* item = nullptr;  // [N] in device memory; unused for `center`
};

// Pixels of images [N, D]; the model uses the upper n_bits bits of each.
struct Pixels {
    index_t N, D;
    int n_bits;
    const std::uint8_t* values;
};

// h[n, i] = (floor(pixel / 2^(8 - n_bits)) + u) / 2^n_bits - 1/2, with uniform noise or 1/2.
void dequantize(const Exec& exec, const Pixels& pixels, const Noise& noise, state_t* h);

// Drift of a reconstructed input: difference[n] = max over i of |h[n, i] - dequantized pixel|, inf if h has a
// NaN. partial: group_scratch(N) doubles.
void dequantize_difference(const Exec& exec, const Pixels& pixels, const Noise& noise, const state_t* h,
                           double* difference, double* partial);

// largest[n] = max over i of |h[n, i]|; inf if a value is not finite or above 1e300. partial:
// group_scratch(N) doubles.
void largest_values(const Exec& exec, index_t N, index_t D, const state_t* h, double* largest,
                    double* partial);

// pixels = clip(floor((h + 1/2) 2^n_bits) 2^(8 - n_bits), 0, 255); NaN becomes 0.
void quantize(const Exec& exec, index_t count, int n_bits, const state_t* h, std::uint8_t* pixels);

// For images of real numbers in pixel units: an 8-bit pixel p covers [p, p + 1) for any n_bits.
// h[i] = values[i] / 256 - 1/2. T: float or double.
template <class T>
void pixel_values_to_state(const Exec& exec, index_t count, const T* values, state_t* h);

// h[i] -= x[i].
void subtract(const Exec& exec, index_t count, const state_t* x, state_t* h);

}  // namespace glow::inline GLOW_REAL

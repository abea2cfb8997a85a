// Each Philox block serves four pixels.
#include "kernels/dequantize.h"
#include "kernels/for_each.cuh"
#include "kernels/reduce.cuh"

namespace glow::inline GLOW_REAL {
namespace {

struct DequantizedPixels {
    index_t D;
    int n_bits;
    const std::uint8_t* pixels;
    Noise noise;

    GLOW_HD PhiloxWords words(index_t n, index_t block) const {
        if (noise.kind == Dequantization::center) return {};
        return philox_block(noise.seed, noise.purpose, noise.item[n], static_cast<std::uint64_t>(block));
    }
    GLOW_HD double value(index_t n, index_t i, std::uint32_t word) const {
        const double k = pixels[n * D + i] >> (8 - n_bits);
        const double u = noise.kind == Dequantization::center ? 0.5 : philox_uniform(word);
        return (k + u) / (1 << n_bits) - 0.5;  // exact: a power of two
    }
};

struct Dequantize {
    static constexpr const char* name = "dequantize";
    DequantizedPixels image;
    state_t* h;
    GLOW_HD void operator()(index_t n, index_t block) const {
        const PhiloxWords words = image.words(n, block);
        for (int j = 0; j < 4; ++j)
            if (block * 4 + j < image.D)
                h[n * image.D + block * 4 + j] = image.value(n, block * 4 + j, words.word[j]);
    }
};

struct Difference {
    static constexpr const char* name = "dequantize_difference";
    static constexpr bool kMaximum = true;
    DequantizedPixels image;
    const state_t* h;
    GLOW_HD double operator()(index_t n, index_t block, index_t) const {
        const PhiloxWords words = image.words(n, block);
        double largest = 0;
        for (int j = 0; j < 4; ++j) {
            const index_t i = block * 4 + j;
            if (i >= image.D) continue;
            const double d = fabs(h[n * image.D + i] - image.value(n, i, words.word[j]));
            if (!(d <= largest)) largest = inf_if_not_finite(d);
        }
        return largest;
    }
};

struct Magnitude {
    static constexpr const char* name = "largest_values";
    static constexpr bool kMaximum = true;
    index_t D;
    const state_t* h;
    GLOW_HD double operator()(index_t n, index_t i, index_t) const {
        const double value = fabs(h[n * D + i]);
        return inf_if_not_finite(value);
    }
};

struct StoreLargest {
    double* largest;
    GLOW_HD void operator()(index_t n, double found) const { largest[n] = found; }
};

struct Quantize {
    static constexpr const char* name = "quantize";
    double n_bins, step;
    const state_t* h;
    std::uint8_t* pixels;
    GLOW_HD void operator()(index_t i) const {
        double value = floor((h[i] + 0.5) * n_bins) * step;
        value = value > 0.0 ? value : 0.0;  // also catches NaN
        pixels[i] = static_cast<std::uint8_t>(value < 255.0 ? value : 255.0);
    }
};

template <class T>
struct PixelValuesToState {
    static constexpr const char* name = "pixel_values_to_state";
    static constexpr double kBytes = sizeof(T) + sizeof(state_t);
    const T* values;
    state_t* h;
    GLOW_HD void operator()(index_t i) const { h[i] = static_cast<state_t>(values[i]) * 0x1p-8 - 0.5; }
};

struct Subtract {
    static constexpr const char* name = "subtract";
    static constexpr double kBytes = 3 * sizeof(state_t);
    const state_t* x;
    state_t* h;
    GLOW_HD void operator()(index_t i) const { h[i] -= x[i]; }
};

}  // namespace

void dequantize(const Exec& exec, const Pixels& pixels, const Noise& noise, state_t* h) {
    for_each_row_channel(exec, pixels.N, (pixels.D + 3) / 4,
                         Dequantize{{pixels.D, pixels.n_bits, pixels.values, noise}, h});
}

void dequantize_difference(const Exec& exec, const Pixels& pixels, const Noise& noise, const state_t* h,
                           double* difference, double* partial) {
    reduce_groups(exec, pixels.N, (pixels.D + 3) / 4, 1, partial,
                  Difference{{pixels.D, pixels.n_bits, pixels.values, noise}, h}, StoreLargest{difference});
}

void largest_values(const Exec& exec, index_t N, index_t D, const state_t* h, double* largest,
                    double* partial) {
    reduce_groups(exec, N, D, 1, partial, Magnitude{D, h}, StoreLargest{largest});
}

void quantize(const Exec& exec, index_t count, int n_bits, const state_t* h, std::uint8_t* pixels) {
    for_each(exec, count,
             Quantize{static_cast<double>(1 << n_bits), static_cast<double>(1 << (8 - n_bits)), h, pixels});
}

template <class T>
void pixel_values_to_state(const Exec& exec, index_t count, const T* values, state_t* h) {
    for_each(exec, count, PixelValuesToState<T>{values, h});
}
template void pixel_values_to_state<float>(const Exec&, index_t, const float*, state_t*);
template void pixel_values_to_state<double>(const Exec&, index_t, const double*, state_t*);

void subtract(const Exec& exec, index_t count, const state_t* x, state_t* h) {
    for_each(exec, count, Subtract{x, h});
}

}  // namespace glow::inline GLOW_REAL

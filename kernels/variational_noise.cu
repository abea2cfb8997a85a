#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/reduce.cuh"
#include "kernels/variational_noise.h"

namespace glow::inline GLOW_REAL {
namespace {

constexpr double kHalfLog2Pi = 0.91893853320467274178;

// Calls f(element, number) for the numbers of Philox block `block` of image n.
struct NormalNumbers {
    index_t D;
    Noise noise;
    template <class F>
    GLOW_HD void each(index_t n, index_t block, F f) const {
        const PhiloxWords words =
            philox_block(noise.seed, noise.purpose, noise.item[n], static_cast<std::uint64_t>(block));
        for (int pair = 0; pair < 2; ++pair) {
            const NormalPair normal = philox_normal(words.word[2 * pair], words.word[2 * pair + 1]);
            const index_t i = block * 4 + 2 * pair;
            if (i < D) f(n * D + i, normal.first);
            if (i + 1 < D) f(n * D + i + 1, normal.second);
        }
    }
};

struct DrawNormal {
    static constexpr const char* name = "normal_noise";
    static constexpr bool kMaximum = false;
    NormalNumbers numbers;
    state_t* eps;
    GLOW_HD double operator()(index_t n, index_t block, index_t) const {
        double sum = 0;
        numbers.each(n, block, [&](index_t at, double number) {
            eps[at] = number;
            sum += kHalfLog2Pi + 0.5 * number * number;
        });
        return sum;
    }
};

struct NormalDifference {
    static constexpr const char* name = "normal_noise_difference";
    static constexpr bool kMaximum = true;
    NormalNumbers numbers;
    const state_t* eps;
    GLOW_HD double operator()(index_t n, index_t block, index_t) const {
        double largest = 0;
        numbers.each(n, block, [&](index_t at, double number) {
            const double d = fabs(eps[at] - number);
            if (!(d <= largest)) largest = inf_if_not_finite(d);
        });
        return largest;
    }
};

struct BinNoise {
    index_t D;
    int n_bits;
    const std::uint8_t* pixels;
    GLOW_HD double value(index_t at, double u) const {
        const double k = pixels[at] >> (8 - n_bits);
        return (k + u) / (1 << n_bits) - 0.5;
    }
};

struct AddNoise {
    static constexpr const char* name = "dequantize_by_logits";
    static constexpr bool kMaximum = false;
    BinNoise bins;
    state_t* h;
    state_t* saved;
    GLOW_HD double operator()(index_t n, index_t i, index_t) const {
        const index_t at = n * bins.D + i;
        const double logit = h[at];
        const Scale u = sigmoid_scale(logit);
        if (saved != nullptr) saved[at] = logit;
        h[at] = bins.value(at, u.value);
        return 2.0 * u.log - logit;  // log(1 - u) = log u - logit
    }
};

struct NoiseDifference {
    static constexpr const char* name = "dequantize_by_logits_difference";
    static constexpr bool kMaximum = true;
    BinNoise bins;
    const state_t* logits;
    const state_t* h;
    GLOW_HD double operator()(index_t n, index_t i, index_t) const {
        const index_t at = n * bins.D + i;
        return inf_if_not_finite(fabs(h[at] - bins.value(at, sigmoid_scale(logits[at]).value)));
    }
};

struct AddNoiseBackward {
    static constexpr const char* name = "dequantize_by_logits_backward";
    static constexpr double kBytes = sizeof(state_t) + 2 * sizeof(real);
    double per_bin, dlogp;
    const state_t* logits;
    real* dh;
    GLOW_HD void operator()(index_t i) const {
        const double u = sigmoid_scale(logits[i]).value;
        dh[i] =
            static_cast<real>(static_cast<double>(dh[i]) * per_bin * u * (1.0 - u) + dlogp * (1.0 - 2.0 * u));
    }
};

struct Store {
    double* values;
    GLOW_HD void operator()(index_t n, double found) const { values[n] = found; }
};
struct Add {
    double* values;
    GLOW_HD void operator()(index_t n, double found) const { values[n] += found; }
};
struct Raise {
    double* values;
    GLOW_HD void operator()(index_t n, double found) const {
        if (!(found <= values[n])) values[n] = found;
    }
};

}  // namespace

void normal_noise(const Exec& exec, index_t N, index_t D, const Noise& noise, state_t* eps,
                  double* minus_log_q, double* partial) {
    reduce_groups(exec, N, (D + 3) / 4, 1, partial, DrawNormal{{D, noise}, eps}, Store{minus_log_q});
}

void normal_noise_difference(const Exec& exec, index_t N, index_t D, const Noise& noise, const state_t* eps,
                             double* difference, double* partial) {
    reduce_groups(exec, N, (D + 3) / 4, 1, partial, NormalDifference{{D, noise}, eps}, Raise{difference});
}

void dequantize_by_logits(const Exec& exec, const Pixels& pixels, state_t* h, state_t* saved,
                          double* minus_log_q, double* partial) {
    reduce_groups(exec, pixels.N, pixels.D, 1, partial,
                  AddNoise{{pixels.D, pixels.n_bits, pixels.values}, h, saved}, Add{minus_log_q});
}

void dequantize_by_logits_difference(const Exec& exec, const Pixels& pixels, const state_t* logits,
                                     const state_t* h, double* difference, double* partial) {
    reduce_groups(exec, pixels.N, pixels.D, 1, partial,
                  NoiseDifference{{pixels.D, pixels.n_bits, pixels.values}, logits, h}, Store{difference});
}

void dequantize_by_logits_backward(const Exec& exec, index_t count, int n_bits, double dlogp,
                                   const state_t* logits, real* dh) {
    for_each(exec, count, AddNoiseBackward{1.0 / (1 << n_bits), dlogp, logits, dh});
}

}  // namespace glow::inline GLOW_REAL

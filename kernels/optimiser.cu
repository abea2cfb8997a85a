// Adamax and Adam, the gradient's norm, and checksums.
#include <cstring>

#include "kernels/launch.cuh"
#include "kernels/math.h"
#include "kernels/optimiser.h"

namespace glow::inline GLOW_REAL {
namespace {

struct Update {
    static constexpr const char* name = "optimiser_step";
    OptimiserStep step;
    const real* gradient;
    real* w;
    real* m;
    real* v;
    real* ema;
    GLOW_HD void operator()(index_t i) const {
        real average = ema != nullptr ? ema[i] : real{0};
        update(step, gradient[i], w[i], m[i], v[i], average);
        if (ema != nullptr) ema[i] = average;
    }
    GLOW_HD static void update(const OptimiserStep& step, real gradient, real& w, real& m, real& v,
                               real& ema) {
        const double g = step.gradient_scale * gradient;
        const double mean = step.beta1 * m + (1.0 - step.beta1) * g;
        double second, denominator;
        if (step.adam) {
            second = step.beta2 * v + (1.0 - step.beta2) * g * g;
            denominator = sqrt_of(second) + 1e-8;
        } else {
            const double size = g < 0.0 ? -g : g, decayed = step.beta2 * v;
            second = decayed > size ? decayed : size;
            denominator = second + 1e-8;
        }
        const double weight = (1.0 - step.weight_decay) * w - step.lr_t * mean / denominator;
        m = static_cast<real>(mean);
        v = static_cast<real>(second);
        w = static_cast<real>(weight);
        ema = static_cast<real>(ema + (w - ema) * step.ema_rate);
    }
};

// The same for the GPU, 16 bytes at a time.
struct UpdatePack {
    static constexpr const char* name = "optimiser_step_pack";
    static constexpr index_t kSize = Pack<real>::kSize;
    Update all;
    GLOW_HD void operator()(index_t pack) const {
        const index_t i = pack * kSize;
        const Pack<real> g = load_pack(all.gradient + i);
        Pack<real> w = load_pack(all.w + i), m = load_pack(all.m + i), v = load_pack(all.v + i), ema{};
        if (all.ema != nullptr) ema = load_pack(all.ema + i);
        for (index_t j = 0; j < kSize; ++j)
            Update::update(all.step, g.value[j], w.value[j], m.value[j], v.value[j], ema.value[j]);
        store_pack(w, all.w + i);
        store_pack(m, all.m + i);
        store_pack(v, all.v + i);
        if (all.ema != nullptr) store_pack(ema, all.ema + i);
    }
};

constexpr index_t kSquareRow = 256, kSquareGroups = 64;

struct Square {
    static constexpr const char* name = "sum_of_squares";
    static constexpr bool kMaximum = false;
    index_t count, rows;
    const real* x;
    GLOW_HD double operator()(index_t group, index_t row, index_t c) const {
        const index_t i = (group * rows + row) * kSquareRow + c;
        const double value = i < count ? x[i] : real{0};
        return value * value;
    }
};
// A sum of whole numbers below 2^32 is exact in double up to 2^21 of them, and repeats beyond.
struct Word {
    static constexpr const char* name = "checksum";
    static constexpr bool kMaximum = false;
    index_t count, rows;
    const real* x;
    GLOW_HD double operator()(index_t group, index_t row, index_t c) const {
        const index_t i = (group * rows + row) * kSquareRow + c;
        if (i >= count) return 0.0;
        std::uint32_t words[sizeof(real) / sizeof(std::uint32_t)];
        std::memcpy(words, x + i, sizeof(real));
        double sum = 0;
        for (const std::uint32_t word : words) sum += word;
        return sum;
    }
};
struct Store {
    double* result;
    GLOW_HD void operator()(index_t group, double sum) const { result[group] = sum; }
};
struct Value {
    static constexpr const char* name = "sum_of_group_sums";
    static constexpr bool kMaximum = false;
    const double* x;
    GLOW_HD double operator()(index_t, index_t, index_t c) const { return x[c]; }
};

}  // namespace

void optimiser_step(const Place& place, index_t count, const OptimiserStep& step, const real* g, real* w,
                    real* m, real* v, real* ema) {
    const Update all{step, g, w, m, v, ema};
    if (packs_fit(place, count, g, w, m, v, ema))
        for_each(place, count / Pack<real>::kSize, UpdatePack{all});
    else
        for_each(place, count, all);
}

namespace {

// *result = sum of F over x.
template <class F>
void sum_of(const Place& place, index_t count, const real* x, double* result, double* partial) {
    const index_t rows = (count + kSquareGroups * kSquareRow - 1) / (kSquareGroups * kSquareRow);
    double* const sums = partial + kSquareGroups * kGroupParts;
    reduce_groups(place, kSquareGroups, rows, kSquareRow, partial, F{count, rows, x}, Store{sums});
    reduce_groups(place, 1, 1, kSquareGroups, partial, Value{sums}, Store{result});
}

}  // namespace

void sum_of_squares(const Place& place, index_t count, const real* x, double* result, double* partial) {
    sum_of<Square>(place, count, x, result, partial);
}

void checksum(const Place& place, index_t count, const real* x, double* result, double* partial) {
    sum_of<Word>(place, count, x, result, partial);
}

index_t square_scratch() {
    return kSquareGroups * (kGroupParts + 1);
}

}  // namespace glow::inline GLOW_REAL

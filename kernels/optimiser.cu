// Adamax and Adam, and the gradient's norm.
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
        const double g = step.gradient_scale * gradient[i];
        const double mean = step.beta1 * m[i] + (1.0 - step.beta1) * g;
        double second, denominator;
        if (step.adam) {
            second = step.beta2 * v[i] + (1.0 - step.beta2) * g * g;
            denominator = sqrt_of(second) + 1e-8;
        } else {
            const double size = g < 0.0 ? -g : g, decayed = step.beta2 * v[i];
            second = decayed > size ? decayed : size;
            denominator = second + 1e-8;
        }
        const double weight = (1.0 - step.weight_decay) * w[i] - step.lr_t * mean / denominator;
        m[i] = static_cast<real>(mean);
        v[i] = static_cast<real>(second);
        w[i] = static_cast<real>(weight);
        if (ema != nullptr) ema[i] = static_cast<real>(ema[i] + (w[i] - ema[i]) * step.ema_rate);
    }
};

constexpr index_t kSquareRow = 256;

struct Square {
    static constexpr const char* name = "sum_of_squares";
    static constexpr bool kMaximum = false;
    index_t count;
    const real* x;
    GLOW_HD double operator()(index_t, index_t row, index_t c) const {
        const index_t i = row * kSquareRow + c;
        const double value = i < count ? x[i] : real{0};
        return value * value;
    }
};
struct Store {
    double* result;
    GLOW_HD void operator()(index_t, double sum) const { *result = sum; }
};

}  // namespace

void optimiser_step(const Place& place, index_t count, const OptimiserStep& step, const real* g, real* w,
                    real* m, real* v, real* ema) {
    for_each(place, count, Update{step, g, w, m, v, ema});
}

void sum_of_squares(const Place& place, index_t count, const real* x, double* result, double* partial) {
    reduce_groups(place, 1, (count + kSquareRow - 1) / kSquareRow, kSquareRow, partial, Square{count, x},
                  Store{result});
}

}  // namespace glow::inline GLOW_REAL

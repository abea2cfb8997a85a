#include "kernels/actnorm_init.h"
#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/reduce.cuh"

namespace glow::inline GLOW_REAL {
namespace {

template <class T>
struct Moments {
    static constexpr const char* name = "moments";
    static constexpr int kSums = 2;
    using Sum = double;
    const T* x;
    index_t stride;
    GLOW_HD T load(index_t row, index_t c) const { return x[row * stride + c]; }
    GLOW_HD void operator()(index_t, index_t, double value, double* sum) const {
        sum[0] += value;
        sum[1] += value * value;
    }
};
struct AddMoments {
    index_t C;
    double* moments;
    GLOW_HD void operator()(index_t c, const double* sum) const {
        moments[c] += sum[0];
        moments[C + c] += sum[1];
    }
};

struct FromMoments {
    static constexpr const char* name = "actnorm_from_moments";
    double count;
    index_t C;
    const double* moments;
    real* bias;
    real* logs;
    double log_spread;
    GLOW_HD void operator()(index_t c) const {
        const double mean = moments[c] / count;
        const double b = static_cast<real>(-mean);  // deviation about the bias as rounded for storage
        const double square = moments[C + c] / count + 2.0 * b * mean + b * b;
        const double s = sqrt_of(square > 0.0 ? square : 0.0);
        bias[c] = static_cast<real>(b);
        logs[c] = static_cast<real>((log_spread - log_of(s + 1e-6)) / 3.0);
    }
};

}  // namespace

template <class T>
void add_moments(const Exec& exec, index_t rows, index_t C, const T* x, index_t stride, double* moments,
                 double* partial) {
    sum_columns(exec, rows, C, partial, Moments<T>{x, stride}, AddMoments{C, moments});
}

void actnorm_from_moments(const Exec& exec, double count, index_t C, const double* moments, real* bias,
                          real* logs, double spread) {
    for_each(exec, C, FromMoments{count, C, moments, bias, logs, log_of(spread)});
}

template void add_moments<double>(const Exec&, index_t, index_t, const double*, index_t, double*, double*);
#if !defined(GLOW_REAL_DOUBLE)
template void add_moments<float>(const Exec&, index_t, index_t, const float*, index_t, double*, double*);
#endif

}  // namespace glow::inline GLOW_REAL

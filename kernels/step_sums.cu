#include "kernels/math.h"
#include "kernels/reduce.cuh"
#include "kernels/step_sums.h"

namespace glow::inline GLOW_REAL {
namespace {

struct LogDensity {
    static constexpr const char* name = "sum_log_density";
    static constexpr bool kMaximum = false;
    const double* logdet;
    const double* prior;
    GLOW_HD double operator()(index_t, index_t, index_t n) const { return logdet[n] + prior[n]; }
};
struct Values {
    static constexpr const char* name = "sum_values";
    static constexpr bool kMaximum = false;
    const double* values;
    GLOW_HD double operator()(index_t, index_t, index_t n) const { return values[n]; }
};
struct Largest {
    static constexpr const char* name = "largest_difference";
    static constexpr bool kMaximum = true;
    const double* values;
    GLOW_HD double operator()(index_t, index_t, index_t n) const { return inf_if_not_finite(values[n]); }
};
struct Add {
    double* sum;
    GLOW_HD void operator()(index_t, double value) const { *sum += value; }
};
struct Raise {
    double* largest;
    GLOW_HD void operator()(index_t, double value) const { *largest = value > *largest ? value : *largest; }
};

}  // namespace

void add_step_sums(const Exec& exec, index_t N, const PassResults& images, StepSums* sums, double* partial) {
    reduce_groups(exec, 1, 1, N, partial, LogDensity{images.logdet, images.prior}, Add{&sums->log_density});
    if (images.bits_y != nullptr)
        reduce_groups(exec, 1, 1, N, partial, Values{images.bits_y}, Add{&sums->bits_y});
    if (images.error_y != nullptr)
        reduce_groups(exec, 1, 1, N, partial, Values{images.error_y}, Add{&sums->error_y});
    reduce_groups(exec, 1, 1, N, partial, Largest{images.difference}, Raise{&sums->drift});
}

}  // namespace glow::inline GLOW_REAL

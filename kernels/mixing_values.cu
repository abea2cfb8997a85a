#include <limits>

#include "kernels/for_each.cuh"
#include "kernels/lu_factors.cuh"
#include "kernels/mixing_values.h"

namespace glow::inline GLOW_REAL {
namespace {

struct DenseWeight {
    static constexpr const char* name = "dense_weight";
    index_t C, stride;
    const real* weight;
    double* W;
    GLOW_HD void operator()(index_t k, index_t o, index_t i) const {
        W[(k * C + o) * C + i] = weight[k * stride + o * C + i];
    }
};

struct LuWeight {
    static constexpr const char* name = "lu_weight";
    index_t C, stride, fixed_stride;
    LuFactors f;
    double* W;
    GLOW_HD void operator()(index_t k, index_t o, index_t i) const {
        const index_t at = k * stride, fixed_at = k * fixed_stride;
        const index_t r = static_cast<index_t>(f.permutation[fixed_at + o]);
        const index_t last = r < i ? r : i - 1;  // last term with an entry of upper
        double sum = i <= r ? lu_lower(f, C, at, r, i) * lu_diagonal(f, at, fixed_at, i) : 0.0;
        for (index_t c = 0; c <= last; ++c)
            sum += lu_lower(f, C, at, r, c) * static_cast<double>(f.upper[at + c * C + i]);
        W[(k * C + o) * C + i] = sum;
    }
};

struct LuLogDeterminant {
    static constexpr const char* name = "lu_log_determinant";
    index_t C, stride;
    const real* log_diag;
    double* log_abs_det;
    GLOW_HD void operator()(index_t k) const {
        double sum = 0;
        for (index_t i = 0; i < C; ++i) sum += log_diag[k * stride + i];
        log_abs_det[k] = sum;
    }
};

struct PermutationWeight {
    static constexpr const char* name = "permutation_weight";
    index_t C, fixed_stride;
    const real* indices;
    MixingValues v;
    GLOW_HD void operator()(index_t k, index_t o, index_t i) const {
        const index_t source =
            indices != nullptr ? static_cast<index_t>(indices[k * fixed_stride + o]) : C - 1 - o;
        const double entry = source == i ? 1.0 : 0.0;
        v.W[(k * C + o) * C + i] = entry;
        v.W_inverse[(k * C + i) * C + o] = entry;
        if (o == 0 && i == 0) {
            v.mixing_logdet[k] = 0.0;
            v.condition[k] = 1.0;
        }
    }
};

struct FoldMixing {
    static constexpr const char* name = "fold_mixing";
    index_t C, stride;
    const real* logs;
    MixingValues v;
    GLOW_HD void operator()(index_t k, index_t o, index_t i) const {
        const index_t at = (k * C + o) * C + i;
        v.M[at] = v.W[at] * scale_of(logs[k * stride + i]);
    }
};

struct FoldInverse {
    static constexpr const char* name = "fold_mixing_inverse";
    index_t C, stride;
    const real* logs;
    MixingValues v;
    GLOW_HD void operator()(index_t k, index_t o, index_t i) const {
        const index_t at = (k * C + o) * C + i;
        v.M_inverse[at] = v.W_inverse[at] * inverse_scale_of(logs[k * stride + o]);
    }
};

struct FoldShift {
    static constexpr const char* name = "fold_mixing_shift";
    index_t C, stride;
    const real* bias;
    MixingValues v;
    GLOW_HD void operator()(index_t k, index_t o) const {
        double sum = 0;
        for (index_t i = 0; i < C; ++i) sum += v.M[(k * C + o) * C + i] * bias[k * stride + i];
        v.shift[k * C + o] = sum;
        v.minus_bias[k * C + o] = -static_cast<double>(bias[k * stride + o]);
    }
};

struct FoldLogdet {
    static constexpr const char* name = "fold_mixing_logdet";
    index_t C, pixels, stride;
    const real* logs;
    MixingValues v;
    GLOW_HD void operator()(index_t k) const {
        double sum = 0;
        for (index_t i = 0; i < C; ++i) sum += log_scale_of(logs[k * stride + i]);
        v.actnorm_logdet[k] = sum * static_cast<double>(pixels);
    }
};

struct FoldDeterminant {
    static constexpr const char* name = "fold_mixing_determinant";
    index_t C, pixels, stride;
    ActnormParameters actnorm;
    MixingValues v;
    GLOW_HD void operator()(index_t k) const {
        bool usable = true;
        for (index_t i = 0; i < C; ++i) {
            const double log_scale = log_scale_of(actnorm.logs[k * stride + i]);
            // Scales must be between 2^-1000 and 2^1000, and not NaN.
            usable = usable && log_scale > -693.0 && log_scale < 693.0 &&
                     actnorm.bias[k * stride + i] - actnorm.bias[k * stride + i] == 0;
        }
        v.mixing_logdet[k] *= static_cast<double>(pixels);
        if (!usable) v.condition[k] = kInfinity;
    }
    static constexpr double kInfinity = std::numeric_limits<double>::infinity();
};

struct AddToAll {
    static constexpr const char* name = "add_to_all";
    const double* value;
    double* x;
    GLOW_HD void operator()(index_t n) const { x[n] += *value; }
};

struct AddLogdetsToAll {
    static constexpr const char* name = "add_logdets_to_all";
    index_t K;
    const double* actnorm;
    const double* mixing;
    double* x;
    GLOW_HD void operator()(index_t n) const {
        double sum = 0;
        for (index_t k = 0; k < K; ++k) sum += actnorm[k] + mixing[k];
        x[n] += sum;
    }
};

}  // namespace

void dense_weight(const Exec& exec, index_t K, index_t C, index_t stride, const real* weight, double* W) {
    for_each_group(exec, K, C, C, DenseWeight{C, stride, weight, W});
}

void lu_weight(const Exec& exec, index_t K, index_t C, index_t stride, index_t fixed_stride,
               const LuFactors& factors, double* W) {
    for_each_group(exec, K, C, C, LuWeight{C, stride, fixed_stride, factors, W});
}

void lu_log_determinant(const Exec& exec, index_t K, index_t C, index_t stride, const real* log_diag,
                        double* log_abs_det) {
    for_each(exec, K, LuLogDeterminant{C, stride, log_diag, log_abs_det}, C);
}

void permutation_weight(const Exec& exec, index_t K, index_t C, index_t fixed_stride, const real* indices,
                        const MixingValues& values) {
    for_each_group(exec, K, C, C, PermutationWeight{C, fixed_stride, indices, values});
}

void fold_mixing(const Exec& exec, index_t K, index_t C, index_t pixels, index_t stride,
                 const ActnormParameters& actnorm, const MixingValues& values) {
    for_each_group(exec, K, C, C, FoldMixing{C, stride, actnorm.logs, values});
    for_each_row_channel(exec, K, C, FoldShift{C, stride, actnorm.bias, values});
    for_each(exec, K, FoldLogdet{C, pixels, stride, actnorm.logs, values}, C);
}

void fold_mixing_inverse(const Exec& exec, index_t K, index_t C, index_t pixels, index_t stride,
                         const ActnormParameters& actnorm, const MixingValues& values) {
    for_each_group(exec, K, C, C, FoldInverse{C, stride, actnorm.logs, values});
    for_each(exec, K, FoldDeterminant{C, pixels, stride, actnorm, values}, C);
}

void add_to_all(const Exec& exec, index_t N, const double* value, double* x) {
    for_each(exec, N, AddToAll{value, x});
}

void add_logdets_to_all(const Exec& exec, index_t N, index_t K, const MixingValues& values, double* x) {
    for_each(exec, N, AddLogdetsToAll{K, values.actnorm_logdet, values.mixing_logdet, x}, K);
}

}  // namespace glow::inline GLOW_REAL

// Affine maps of the state's channels, and the matrices in them.
#include <limits>

#include "kernels/for_each.cuh"
#include "kernels/math.h"
#include "kernels/mixing.h"
#include "kernels/row_matvec.cuh"

namespace glow::inline GLOW_REAL {
namespace {

struct AffineRows {
    static constexpr const char* name = "affine_rows";
    using Value = double;
    index_t C;
    const double* M;
    const double* shift;
    state_t* h;
    GLOW_HD double load(index_t row, index_t i) const { return h[row * C + i]; }
    GLOW_HD double coefficient(index_t o, index_t i) const { return M[o * C + i]; }
    GLOW_HD void store(index_t row, index_t o, double sum) const { h[row * C + o] = sum + shift[o]; }
};

struct AffineRowsGradient {
    static constexpr const char* name = "affine_rows_gradient";
    using Value = real;
    index_t C;
    const double* M;
    real* dh;
    GLOW_HD real load(index_t row, index_t o) const { return dh[row * C + o]; }
    GLOW_HD real coefficient(index_t i, index_t o) const { return static_cast<real>(M[o * C + i]); }
    GLOW_HD void store(index_t row, index_t i, real sum) const { dh[row * C + i] = sum; }
};

struct CastWithOne {
    static constexpr const char* name = "cast_with_one";
    index_t C;
    const state_t* h;
    real* out;
    GLOW_HD void operator()(index_t row, index_t c) const {
        out[row * (C + 1) + c] = c < C ? round_state<real>(h[row * C + c]) : real{1};
    }
};

struct DenseWeight {
    static constexpr const char* name = "dense_weight";
    index_t C, stride;
    const real* weight;
    double* W;
    GLOW_HD void operator()(index_t k, index_t o, index_t i) const {
        W[(k * C + o) * C + i] = weight[k * stride + o * C + i];
    }
};

// Of the step whose parameters begin `at` and `fixed_at` elements behind the first one's.
GLOW_HD inline double lu_lower(const LuFactors& f, index_t C, index_t at, index_t r, index_t c) {
    return r == c ? 1.0 : static_cast<double>(f.lower[at + r * C + c]);
}
GLOW_HD inline double lu_diagonal(const LuFactors& f, index_t at, index_t fixed_at, index_t i) {
    return f.sign[fixed_at + i] * exp_of(f.log_diag[at + i]);
}

struct LuWeight {
    static constexpr const char* name = "lu_weight";
    index_t C, stride, fixed_stride;
    LuFactors f;
    double* W;
    GLOW_HD void operator()(index_t k, index_t o, index_t i) const {
        const index_t at = k * stride, fixed_at = k * fixed_stride;
        const index_t r = static_cast<index_t>(f.permutation[fixed_at + o]);
        const index_t last = r < i ? r : i - 1;  // of the terms with an entry of upper
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
    double* W;
    double* W_inverse;
    double* log_abs_det;
    double* condition;
    GLOW_HD void operator()(index_t k, index_t o, index_t i) const {
        const index_t source =
            indices != nullptr ? static_cast<index_t>(indices[k * fixed_stride + o]) : C - 1 - o;
        const double entry = source == i ? 1.0 : 0.0;
        W[(k * C + o) * C + i] = entry;
        W_inverse[(k * C + i) * C + o] = entry;
        if (o == 0 && i == 0) {
            log_abs_det[k] = 0.0;
            condition[k] = 1.0;
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
    const real* bias;
    const real* logs;
    MixingValues v;
    GLOW_HD void operator()(index_t k) const {
        bool usable = true;
        for (index_t i = 0; i < C; ++i) {
            const double log_scale = log_scale_of(logs[k * stride + i]);
            // Scales between 2^-1000 and 2^1000, and no NaN.
            usable = usable && log_scale > -693.0 && log_scale < 693.0 &&
                     bias[k * stride + i] - bias[k * stride + i] == 0;
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

struct AddSumToAll {
    static constexpr const char* name = "add_sum_to_all";
    index_t count;
    const double* values;
    double* x;
    GLOW_HD void operator()(index_t n) const {
        double sum = 0;
        for (index_t k = 0; k < count; ++k) sum += values[k];
        x[n] += sum;
    }
};

// G[o, i] = (dM + dc b^T)[o, i] s_i.
GLOW_HD inline double weight_gradient(const real* dMc, index_t C, index_t o, index_t i, const real* bias,
                                      const real* logs) {
    const double dM = dMc[o * (C + 1) + i] + static_cast<double>(dMc[o * (C + 1) + C]) * bias[i];
    return dM * scale_of(logs[i]);
}

struct DenseWeightGradient {
    static constexpr const char* name = "dense_weight_gradient";
    index_t C;
    const real* dMc;
    const double* W_inverse;
    const real* bias;
    const real* logs;
    double dlogdet;
    real* dW;
    GLOW_HD void operator()(index_t o, index_t i) const {
        dW[o * C + i] +=
            static_cast<real>(weight_gradient(dMc, C, o, i, bias, logs) + dlogdet * W_inverse[i * C + o]);
    }
};

// dLU = P^T G.
struct LuProductGradient {
    static constexpr const char* name = "lu_product_gradient";
    index_t C;
    const real* dMc;
    const real* permutation;
    const real* bias;
    const real* logs;
    double* dLU;
    GLOW_HD void operator()(index_t o, index_t i) const {
        dLU[static_cast<index_t>(permutation[o]) * C + i] = weight_gradient(dMc, C, o, i, bias, logs);
    }
};

struct LuGradient {
    static constexpr const char* name = "lu_gradient";
    index_t C;
    LuFactors f;
    const double* dLU;
    double dlogdet;
    real* dlog_diag;
    real* dlower;
    real* dupper;
    GLOW_HD void operator()(index_t r, index_t c) const {
        if (r > c) {  // row r of dLU times row c of B
            double sum = dLU[r * C + c] * lu_diagonal(f, 0, 0, c);
            for (index_t j = c + 1; j < C; ++j) sum += dLU[r * C + j] * f.upper[c * C + j];
            dlower[r * C + c] += static_cast<real>(sum);
            return;
        }
        double sum = 0;  // column r of A times column c of dLU
        for (index_t j = r; j < C; ++j) sum += lu_lower(f, C, 0, j, r) * dLU[j * C + c];
        if (r < c)
            dupper[r * C + c] += static_cast<real>(sum);
        else
            dlog_diag[r] += static_cast<real>(sum * lu_diagonal(f, 0, 0, r) + dlogdet);
    }
};

// dbias and dlogs of input channel i.
struct ActnormGradient {
    static constexpr const char* name = "actnorm_gradient";
    index_t C;
    const real* dMc;
    const double* W;
    const real* bias;
    const real* logs;
    double dlogdet;
    real* dbias;
    real* dlogs;
    GLOW_HD void operator()(index_t i) const {
        const double s = scale_of(logs[i]);
        double GW = 0, Wdc = 0;
        for (index_t o = 0; o < C; ++o) {
            const double dc = dMc[o * (C + 1) + C];
            GW += (dMc[o * (C + 1) + i] + dc * bias[i]) * W[o * C + i];
            Wdc += W[o * C + i] * dc;
        }
        dbias[i] += static_cast<real>(s * Wdc);
        dlogs[i] += static_cast<real>(kLogsFactor * (s * GW + dlogdet));
    }
};

}  // namespace

void affine_rows(const Exec& exec, index_t rows, index_t C, const double* M, const double* shift,
                 state_t* h) {
    row_matvec(exec, rows, C, C, AffineRows{C, M, shift, h});
}

void affine_rows_gradient(const Exec& exec, index_t rows, index_t C, const double* M, real* dh) {
    row_matvec(exec, rows, C, C, AffineRowsGradient{C, M, dh});
}

void cast_with_one(const Exec& exec, index_t rows, index_t C, const state_t* h, real* out) {
    for_each_row_channel(exec, rows, C + 1, CastWithOne{C, h, out});
}

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
                        double* W, double* W_inverse, double* log_abs_det, double* condition) {
    for_each_group(exec, K, C, C,
                   PermutationWeight{C, fixed_stride, indices, W, W_inverse, log_abs_det, condition});
}

void fold_mixing(const Exec& exec, index_t K, index_t C, index_t pixels, index_t stride, const real* bias,
                 const real* logs, const MixingValues& values) {
    for_each_group(exec, K, C, C, FoldMixing{C, stride, logs, values});
    for_each_row_channel(exec, K, C, FoldShift{C, stride, bias, values});
    for_each(exec, K, FoldLogdet{C, pixels, stride, logs, values}, C);
}

void fold_mixing_inverse(const Exec& exec, index_t K, index_t C, index_t pixels, index_t stride,
                         const real* bias, const real* logs, const MixingValues& values) {
    for_each_group(exec, K, C, C, FoldInverse{C, stride, logs, values});
    for_each(exec, K, FoldDeterminant{C, pixels, stride, bias, logs, values}, C);
}

void add_to_all(const Exec& exec, index_t N, const double* value, double* x) {
    for_each(exec, N, AddToAll{value, x});
}

void add_sum_to_all(const Exec& exec, index_t N, index_t count, const double* values, double* x) {
    for_each(exec, N, AddSumToAll{count, values, x}, count);
}

void dense_weight_gradient(const Exec& exec, index_t C, const real* dMc, const double* W_inverse,
                           const real* bias, const real* logs, double dlogdet, real* dW) {
    for_each_row_channel(exec, C, C, DenseWeightGradient{C, dMc, W_inverse, bias, logs, dlogdet, dW});
}

void lu_gradient(const Exec& exec, index_t C, const real* dMc, const LuFactors& factors, const real* bias,
                 const real* logs, double dlogdet, double* scratch, real* dlog_diag, real* dlower,
                 real* dupper) {
    for_each_row_channel(exec, C, C, LuProductGradient{C, dMc, factors.permutation, bias, logs, scratch});
    for_each_row_channel(exec, C, C, LuGradient{C, factors, scratch, dlogdet, dlog_diag, dlower, dupper});
}

void actnorm_gradient(const Exec& exec, index_t C, const real* dMc, const double* W, const real* bias,
                      const real* logs, double dlogdet, real* dbias, real* dlogs) {
    for_each(exec, C, ActnormGradient{C, dMc, W, bias, logs, dlogdet, dbias, dlogs}, C);
}

}  // namespace glow::inline GLOW_REAL

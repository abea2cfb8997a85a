// Affine maps of the state's channels.
#include "kernels/launch.cuh"
#include "kernels/math.h"
#include "kernels/mixing.h"

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
        out[row * (C + 1) + c] = c < C ? static_cast<real>(h[row * C + c]) : real{1};
    }
};

// dW, one entry each.
struct UnfoldWeight {
    static constexpr const char* name = "unfold_mixing_weight";
    index_t C;
    const real* dMc;
    const double* W_inverse;
    const real* bias;
    const real* logs;
    double dlogdet;
    real* dW;
    GLOW_HD void operator()(index_t o, index_t i) const {
        const double G = dMc[o * (C + 1) + i] + static_cast<double>(dMc[o * (C + 1) + C]) * bias[i];
        dW[o * C + i] += static_cast<real>(G * exp_of(3.0 * logs[i]) + dlogdet * W_inverse[i * C + o]);
    }
};

// dbias and dlogs of input channel i.
struct UnfoldActnorm {
    static constexpr const char* name = "unfold_mixing_actnorm";
    index_t C;
    const real* dMc;
    const real* W;
    const real* bias;
    const real* logs;
    double dlogdet;
    real* dbias;
    real* dlogs;
    GLOW_HD void operator()(index_t i) const {
        const double s = exp_of(3.0 * logs[i]);
        double GW = 0, Wdc = 0;
        for (index_t o = 0; o < C; ++o) {
            const double dc = dMc[o * (C + 1) + C];
            GW += (dMc[o * (C + 1) + i] + dc * bias[i]) * W[o * C + i];
            Wdc += W[o * C + i] * dc;
        }
        dbias[i] += static_cast<real>(s * Wdc);
        dlogs[i] += static_cast<real>(3.0 * (s * GW + dlogdet));
    }
};

}  // namespace

void affine_rows(const Place& place, index_t rows, index_t C, const double* M, const double* shift,
                 state_t* h) {
    row_matvec(place, rows, C, C, AffineRows{C, M, shift, h});
}

void affine_rows_gradient(const Place& place, index_t rows, index_t C, const double* M, real* dh) {
    row_matvec(place, rows, C, C, AffineRowsGradient{C, M, dh});
}

void cast_with_one(const Place& place, index_t rows, index_t C, const state_t* h, real* out) {
    for_each_row_channel(place, rows, C + 1, CastWithOne{C, h, out});
}

void unfold_mixing(const Place& place, index_t C, const real* dMc, const real* W, const double* W_inverse,
                   const real* bias, const real* logs, double dlogdet, real* dW, real* dbias, real* dlogs) {
    for_each_row_channel(place, C, C, UnfoldWeight{C, dMc, W_inverse, bias, logs, dlogdet, dW});
    for_each(place, C, UnfoldActnorm{C, dMc, W, bias, logs, dlogdet, dbias, dlogs}, C);
}

}  // namespace glow::inline GLOW_REAL

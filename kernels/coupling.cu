#include "kernels/coupling.h"
#include "kernels/coupling_math.h"
#include "kernels/for_each.cuh"
#include "kernels/reduce.cuh"

namespace glow::inline GLOW_REAL {
namespace {

template <CouplingScale kScale>
struct AffineForward {
    static constexpr const char* name = "affine_coupling_forward";
    static constexpr bool kMaximum = false;
    index_t rows, C;
    const real* out;
    state_t* h;
    GLOW_HD double operator()(index_t n, index_t r, index_t c) const {
        const index_t row = n * rows + r;
        return affine_forward<kScale>(out + row * C + 2 * c, h[row * C + C / 2 + c]);
    }
};

struct AddToLogdet {
    double* logdet;
    GLOW_HD void operator()(index_t n, double sum) const { logdet[n] += sum; }
};

template <CouplingScale kScale>
struct AffineInverse {
    static constexpr const char* name = "affine_coupling_inverse";
    index_t C;
    const real* out;
    state_t* h;
    GLOW_HD void operator()(index_t row, index_t c) const {
        const real* const o = out + row * C + 2 * c;
        state_t& b = h[row * C + C / 2 + c];
        b = b / coupling_scale<kScale>(o[1]).value - o[0];
    }
};

template <CouplingScale kScale>
struct AffineBackward {
    static constexpr const char* name = "affine_coupling_backward";
    index_t C;
    double dlogdet;
    const real* out;
    real* dout;
    state_t* h;
    real* dh;
    GLOW_HD void operator()(index_t row, index_t c) const {
        affine_backward<kScale>(out + row * C + 2 * c, dlogdet, h[row * C + C / 2 + c],
                                dh[row * C + C / 2 + c], dout + row * C + 2 * c);
    }
};

struct AdditiveForward {
    static constexpr const char* name = "additive_coupling_forward";
    index_t C;
    const real* out;
    state_t* h;
    GLOW_HD void operator()(index_t row, index_t c) const {
        h[row * C + C / 2 + c] += out[row * (C / 2) + c];
    }
};

struct AdditiveInverse {
    static constexpr const char* name = "additive_coupling_inverse";
    index_t C;
    const real* out;
    state_t* h;
    GLOW_HD void operator()(index_t row, index_t c) const {
        h[row * C + C / 2 + c] -= out[row * (C / 2) + c];
    }
};

struct AdditiveBackward {
    static constexpr const char* name = "additive_coupling_backward";
    index_t C;
    const real* out;
    real* dout;
    state_t* h;
    const real* dh;
    GLOW_HD void operator()(index_t row, index_t c) const {
        h[row * C + C / 2 + c] -= out[row * (C / 2) + c];
        dout[row * (C / 2) + c] = dh[row * C + C / 2 + c];
    }
};

struct JoinCondition {
    static constexpr const char* name = "join_condition";
    index_t C, E;
    const state_t* h;
    const real* condition;
    state_t* input;
    GLOW_HD void operator()(index_t row, index_t c) const {
        const index_t half = C / 2;
        input[row * (half + E) + c] = c < half ? h[row * C + c] : state_t{condition[row * E + c - half]};
    }
};

struct JoinConditionBackward {
    static constexpr const char* name = "join_condition_backward";
    index_t C, E;
    const real* dinput;
    real* dh;
    real* dcondition;
    GLOW_HD void operator()(index_t row, index_t c) const {
        const index_t half = C / 2;
        real& to = c < half ? dh[row * C + c] : dcondition[row * E + c - half];
        to += dinput[row * (half + E) + c];
    }
};

}  // namespace

void affine_coupling_forward(const Exec& exec, index_t N, index_t rows_per_image, index_t C,
                             const AffineOutput& output, state_t* h, double* logdet, double* partial) {
    with_scale(output.scale, [&]<CouplingScale kScale>() {
        reduce_groups(exec, N, rows_per_image, C / 2, partial,
                      AffineForward<kScale>{rows_per_image, C, output.out, h}, AddToLogdet{logdet});
    });
}

void affine_coupling_inverse(const Exec& exec, index_t rows, index_t C, const AffineOutput& output,
                             state_t* h) {
    with_scale(output.scale, [&]<CouplingScale kScale>() {
        for_each_row_channel(exec, rows, C / 2, AffineInverse<kScale>{C, output.out, h});
    });
}

void affine_coupling_backward(const Exec& exec, index_t rows, index_t C, double dlogdet,
                              const AffineOutput& output, real* dout, state_t* h, real* dh) {
    with_scale(output.scale, [&]<CouplingScale kScale>() {
        for_each_row_channel(exec, rows, C / 2, AffineBackward<kScale>{C, dlogdet, output.out, dout, h, dh});
    });
}

void additive_coupling_forward(const Exec& exec, index_t rows, index_t C, const real* out, state_t* h) {
    for_each_row_channel(exec, rows, C / 2, AdditiveForward{C, out, h});
}

void additive_coupling_inverse(const Exec& exec, index_t rows, index_t C, const real* out, state_t* h) {
    for_each_row_channel(exec, rows, C / 2, AdditiveInverse{C, out, h});
}

void additive_coupling_backward(const Exec& exec, index_t rows, index_t C, const real* out, real* dout,
                                state_t* h, const real* dh) {
    for_each_row_channel(exec, rows, C / 2, AdditiveBackward{C, out, dout, h, dh});
}

void join_condition(const Exec& exec, index_t rows, index_t C, index_t E, const state_t* h,
                    const real* condition, state_t* input) {
    for_each_row_channel(exec, rows, C / 2 + E, JoinCondition{C, E, h, condition, input});
}

void join_condition_backward(const Exec& exec, index_t rows, index_t C, index_t E, const real* dinput,
                             real* dh, real* dcondition) {
    for_each_row_channel(exec, rows, C / 2 + E, JoinConditionBackward{C, E, dinput, dh, dcondition});
}

}  // namespace glow::inline GLOW_REAL

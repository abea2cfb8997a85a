#include "kernels/affine_rows.cuh"
#include "kernels/for_each.cuh"
#include "kernels/mixing.h"
#include "kernels/row_matvec.cuh"

namespace glow::inline GLOW_REAL {
namespace {

struct CastWithOne {
    static constexpr const char* name = "cast_with_one";
    index_t C;
    const state_t* h;
    real* out;
    GLOW_HD void operator()(index_t row, index_t c) const {
        out[row * (C + 1) + c] = c < C ? round_state<real>(h[row * C + c]) : real{1};
    }
};

}  // namespace

void affine_rows(const Exec& exec, index_t rows, index_t C, const double* M, const double* shift,
                 state_t* h) {
    row_matvec(exec, rows, C, AffineRows{C, M, shift, h});
}

void affine_rows_gradient(const Exec& exec, index_t rows, index_t C, const double* M, real* dh) {
    row_matvec(exec, rows, C, AffineRowsGradient{C, M, dh});
}

void cast_with_one(const Exec& exec, index_t rows, index_t C, const state_t* h, real* out) {
    for_each_row_channel(exec, rows, C + 1, CastWithOne{C, h, out});
}

}  // namespace glow::inline GLOW_REAL

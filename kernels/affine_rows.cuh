// The row products of kernels/mixing.h as element functions, for the plain kernels and the tiled backward.
#pragma once

#include "kernels/math.h"

namespace glow::inline GLOW_REAL {

struct AffineRows {
    static constexpr const char* name = "affine_rows";
    static constexpr double kBytes = 2 * sizeof(state_t);
    using Value = double;
    index_t C;
    const double* M;
    const double* shift;
    state_t* h;
    GLOW_HD double load(index_t row, index_t i) const { return h[row * C + i]; }
    GLOW_HD double coefficient(index_t o, index_t i) const { return M[o * C + i]; }
    GLOW_HD double result(index_t o, double sum) const { return sum + shift[o]; }
    GLOW_HD void store(index_t row, index_t o, double sum) const { h[row * C + o] = result(o, sum); }
};

struct AffineRowsGradient {
    static constexpr const char* name = "affine_rows_gradient";
    static constexpr double kBytes = 2 * sizeof(real);
    using Value = real;
    index_t C;
    const double* M;
    real* dh;
    GLOW_HD real load(index_t row, index_t o) const { return dh[row * C + o]; }
    GLOW_HD real coefficient(index_t i, index_t o) const { return static_cast<real>(M[o * C + i]); }
    GLOW_HD void store(index_t row, index_t i, real sum) const { dh[row * C + i] = sum; }
};

}  // namespace glow::inline GLOW_REAL

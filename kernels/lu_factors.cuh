// Entries of the factors L and U + D of a mixing in its LU form.
#pragma once

#include "kernels/math.h"
#include "kernels/mixing_values.h"

namespace glow::inline GLOW_REAL {

// L of the step whose parameters are offset by `at` and `fixed_at` from the first step's.
GLOW_HD inline double lu_lower(const LuFactors& f, index_t C, index_t at, index_t r, index_t c) {
    return r == c ? 1.0 : static_cast<double>(f.lower[at + r * C + c]);
}
GLOW_HD inline double lu_diagonal(const LuFactors& f, index_t at, index_t fixed_at, index_t i) {
    return f.sign[fixed_at + i] * exp_of(f.log_diag[at + i]);
}

}  // namespace glow::inline GLOW_REAL

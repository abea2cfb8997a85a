// Element formulas of Gaussian latents (kernels/gaussian.h), shared by every kernel that applies them.
#pragma once

#include "kernels/gaussian.h"
#include "kernels/math.h"

namespace glow::inline GLOW_REAL {

// Positions of latent (n, row, c) and of its parameters.
struct GaussianView {
    LatentShape latents;
    GaussianLayout layout;
    GLOW_HD index_t z(index_t n, index_t row, index_t c) const {
        return (n * latents.rows + row) * latents.z_stride + c;
    }
    GLOW_HD index_t parameter(index_t n, index_t row, index_t c) const {
        return (n * latents.rows * layout.per_image + row) * layout.stride + c * layout.step;
    }
};

// log N(z; mean, exp(logs)).
GLOW_HD inline double gaussian_log_density_of(state_t z, real mean, real logs) {
    constexpr double kHalfLogTwoPi = 0.91893853320467274178;
    const double log_sigma = logs;
    const double eps = (z - mean) * exp_of(-log_sigma);
    return -kHalfLogTwoPi - log_sigma - 0.5 * eps * eps;
}

}  // namespace glow::inline GLOW_REAL

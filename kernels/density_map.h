// Contributions to log p by pixel instead of by image, and their sums over blocks of pixels.
#pragma once

#include "kernels/coupling.h"
#include "kernels/gaussian.h"

namespace glow::inline GLOW_REAL {

// Affine coupling as in kernels/coupling.h, h [rows, C]: b <- (b + shift) * scale; logdet[row] += sum of the
// pixel's log scales (nats).
void affine_coupling_forward_by_pixel(const Exec& exec, index_t rows, index_t C, const AffineOutput& output,
                                      state_t* h, double* logdet);
// logp[n * rows + row] += log-density of the pixel's latents (nats).
void gaussian_log_density_by_pixel(const Exec& exec, const LatentShape& latents, const Gaussian& gaussian,
                                   const state_t* z, double* logp);
// coarse[row, column] += sum of the block of factor x factor values at (factor row, factor column) of fine
// [factor * rows, factor * columns].
void add_block_sums(const Exec& exec, index_t rows, index_t columns, index_t factor, const double* fine,
                    double* coarse);

}  // namespace glow::inline GLOW_REAL

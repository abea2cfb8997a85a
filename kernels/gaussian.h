// Diagonal Gaussian latents (splits and top prior): log-density and reparametrization.
// log N(z; mean, exp(logs)) = -1/2 log(2 pi) - logs - 1/2 eps^2, eps = (z - mean) exp(-logs).
#pragma once

#include "kernels/base.h"

namespace glow::inline GLOW_REAL {

// Latents of N images with `rows` pixels each: z[(n * rows + row) * z_stride + c], c < C.
struct LatentShape {
    index_t N, rows, C;
    index_t z_stride;
};

// Location of the parameters of latent (n, row, c): mean[(n * rows * per_image + row) * stride + c * step],
// and the same for logs. per_image = 0: all images share one map [rows, ...].
struct GaussianLayout {
    index_t stride, step;
    index_t per_image;
};
// A split's network output [N*rows, 2C]: mean = h[0::2], logs = h[1::2].
inline GaussianLayout interleaved_gaussian(index_t C) {
    return {2 * C, 2, 1};
}
// The top prior's map [rows, 2C], shared by all images: mean = h[:C], logs = h[C:].
inline GaussianLayout shared_gaussian(index_t C) {
    return {2 * C, 1, 0};
}

// Means and logarithms of standard deviations, and their layout in memory.
struct Gaussian {
    GaussianLayout layout;
    const real* mean;
    const real* logs;
};

// logp[n] += log-density of image n (nats). partial: group_scratch(N) doubles.
void gaussian_log_density(const Exec& exec, const LatentShape& latents, const Gaussian& gaussian,
                          const state_t* z, double* logp, double* partial);
// z <- eps, and the inverse z <- mean + exp(logs) eps. In place.
void gaussian_encode(const Exec& exec, const LatentShape& latents, const Gaussian& gaussian, state_t* z);
void gaussian_decode(const Exec& exec, const LatentShape& latents, const Gaussian& gaussian, state_t* z);
// dz = dL/dz (overwrites; layout of z); dmean, dlogs = dL/d parameters (overwrite; layout of the parameters,
// summed over images if shared). dlogp = dL/dlogp, equal for every image.
void gaussian_backward(const Exec& exec, const LatentShape& latents, const Gaussian& gaussian,
                       const state_t* z, double dlogp, real* dz, real* dmean, real* dlogs);
// Backward of gaussian_encode(), for z before it: dz = dL/dz from dz = dL/deps, in place; dmean, dlogs = dL/d
// parameters (overwrite), or both nullptr. The parameters must not be shared unless these are nullptr.
void gaussian_encode_backward(const Exec& exec, const LatentShape& latents, const Gaussian& gaussian,
                              const state_t* z, real* dz, real* dmean, real* dlogs);
// z[n] = temperature * standard normal numbers of Philox stream (seed, Purpose::sample, item0 + n), starting
// at block `first`; rows * C numbers per image. Requires dense latents (z_stride == C).
void gaussian_noise(const Exec& exec, const LatentShape& latents, std::uint64_t seed, std::uint64_t item0,
                    std::uint64_t first, double temperature, state_t* z);

}  // namespace glow::inline GLOW_REAL

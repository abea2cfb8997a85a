// Correlated Gaussian images of known entropy: a lower bound on any model's mean bits/dim.
//
// y = mean + sd * A n, with n standard normal and A A^T = R_H (x) R_W (x) R_C. Each R is the correlation
// matrix of a first-order autoregression, R[i, j] = rho^|i - j|. Its Cholesky factor is the recursion y_0 =
// n_0, y_i = rho y_(i-1) + sqrt(1 - rho^2) n_i, and ln det R = (size - 1) ln(1 - rho^2). In nats per image,
//     h = D/2 ln(2 pi e sd^2) + (H-1) W C / 2 ln(1 - rho_H^2) + H (W-1) C / 2 ln(1 - rho_W^2)
//                             + H W (C-1) / 2 ln(1 - rho_C^2),
// and entropy_bpd = h / (D ln 2), because the unit is one gray level. Pixels are floor(y), clipped to 0..255.
// Flooring raises the entropy by trace(covariance^-1) / 24 nats, below 0.0014 bits/dim because the standard
// deviation of a pixel given all others is above 6 gray levels. Clipping affects one pixel in nine million
// and lowers it by less than 0.00001 bits/dim.
#pragma once

#include <cstdint>

#include "kernels/base.h"

namespace glow {

// Gray levels; 128 is the middle of floor(y) = 0..255.
inline constexpr double kGaussMean = 128.0, kGaussSd = 24.0;
inline constexpr double kGaussRhoH = 0.65, kGaussRhoW = 0.65, kGaussRhoC = 0.6;

// Entropy in bits/dim. H, W, C >= 1.
double gauss_entropy_bpd(index_t H, index_t W, index_t C);

// Splits use disjoint images: image n of split s is number (s << 40) + n of the stream.
inline constexpr index_t kGaussSplitStride = index_t{1} << 40;

// Writes images first .. first + count - 1 of a seed's stream into images [count, H, W, C], on `threads`
// threads. An image depends only on its number and the seed.
void make_gauss_images(std::uint64_t seed, index_t first, index_t count, index_t H, index_t W, index_t C,
                       int threads, std::uint8_t* images);

}  // namespace glow

#include "data/synthetic_gauss.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "kernels/philox.h"

namespace glow {
namespace {

// Conditional variance of an inner element given its neighbors along one axis, relative to its variance.
constexpr double conditional_variance(double rho) {
    return (1 - rho * rho) / (1 + rho * rho);
}

// A pixel's standard deviation given all others stays above 6 gray levels for any size: inner elements of
// three long axes are the worst case.
static_assert(kGaussSd * kGaussSd * conditional_variance(kGaussRhoH) * conditional_variance(kGaussRhoW) *
                  conditional_variance(kGaussRhoC) >
              6.0 * 6.0);

// y_0 = n_0, y_i = rho y_(i-1) + sqrt(1 - rho^2) n_i in place, along the middle axis of [outer, size, inner].
void recursion(double* y, index_t outer, index_t size, index_t inner, double rho) {
    const double fresh = std::sqrt(1.0 - rho * rho);
    for (index_t o = 0; o < outer; ++o) {
        double* row = y + o * size * inner;
        for (index_t k = inner; k < size * inner; ++k) row[k] = rho * row[k - inner] + fresh * row[k];
    }
}

}  // namespace

double gauss_entropy_bpd(index_t H, index_t W, index_t C) {
    const auto h = static_cast<double>(H), w = static_cast<double>(W), c = static_cast<double>(C);
    const auto log_fresh = [](double rho) { return std::log1p(-rho * rho); };
    const double per_pixel = 0.5 * std::log(2.0 * std::numbers::pi * std::numbers::e * kGaussSd * kGaussSd) +
                             0.5 * (h - 1) / h * log_fresh(kGaussRhoH) +
                             0.5 * (w - 1) / w * log_fresh(kGaussRhoW) +
                             0.5 * (c - 1) / c * log_fresh(kGaussRhoC);
    return per_pixel / std::numbers::ln2;
}

void make_gauss_images(std::uint64_t seed, index_t first, index_t count, index_t H, index_t W, index_t C,
                       int threads, std::uint8_t* images) {
    const index_t D = H * W * C, blocks = (D + 3) / 4;
#pragma omp parallel num_threads(threads)
    {
        std::vector<double> y(static_cast<std::size_t>(4 * blocks));
#pragma omp for schedule(static)
        for (index_t n = 0; n < count; ++n) {
            const auto number = static_cast<std::uint64_t>(first + n);
            for (index_t block = 0; block < blocks; ++block) {
                const PhiloxWords words =
                    philox_block(seed, Purpose::synthetic, number, static_cast<std::uint64_t>(block));
                const NormalPair low = philox_normal(words.word[0], words.word[1]);
                const NormalPair high = philox_normal(words.word[2], words.word[3]);
                double* four = y.data() + 4 * block;
                four[0] = low.first;
                four[1] = low.second;
                four[2] = high.first;
                four[3] = high.second;
            }
            recursion(y.data(), 1, H, W * C, kGaussRhoH);
            recursion(y.data(), H, W, C, kGaussRhoW);
            recursion(y.data(), H * W, C, 1, kGaussRhoC);
            std::uint8_t* image = images + n * D;
            for (index_t i = 0; i < D; ++i) {
                const double pixel = std::floor(kGaussMean + kGaussSd * y[static_cast<std::size_t>(i)]);
                image[i] = static_cast<std::uint8_t>(std::clamp(pixel, 0.0, 255.0));
            }
        }
    }
}

}  // namespace glow

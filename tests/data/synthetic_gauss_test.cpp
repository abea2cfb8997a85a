#include "data/synthetic_gauss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <tuple>
#include <vector>

namespace glow {
namespace {

using Matrix = std::vector<std::vector<double>>;

// Covariance matrix of [H, W, C] by definition.
Matrix covariance(index_t H, index_t W, index_t C) {
    const index_t D = H * W * C;
    Matrix result(static_cast<std::size_t>(D), std::vector<double>(static_cast<std::size_t>(D)));
    for (index_t i = 0; i < D; ++i)
        for (index_t j = 0; j < D; ++j)
            result[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] =
                kGaussSd * kGaussSd * std::pow(kGaussRhoH, std::abs(i / (W * C) - j / (W * C))) *
                std::pow(kGaussRhoW, std::abs(i / C % W - j / C % W)) *
                std::pow(kGaussRhoC, std::abs(i % C - j % C));
    return result;
}

// Lower Cholesky factor.
Matrix cholesky(const Matrix& a) {
    Matrix l(a.size(), std::vector<double>(a.size()));
    for (std::size_t i = 0; i < a.size(); ++i) {
        for (std::size_t j = 0; j <= i; ++j) {
            double sum = a[i][j];
            for (std::size_t k = 0; k < j; ++k) sum -= l[i][k] * l[j][k];
            l[i][j] = i == j ? std::sqrt(sum) : sum / l[j][j];
        }
    }
    return l;
}

std::vector<std::uint8_t> make(std::uint64_t seed, index_t first, index_t count, index_t H, index_t W,
                               index_t C, int threads = 2) {
    std::vector<std::uint8_t> images(static_cast<std::size_t>(count * H * W * C));
    make_gauss_images(seed, first, count, H, W, C, threads, images.data());
    return images;
}

TEST(SyntheticGauss, EntropyMatchesCovariance) {
    for (const auto& [H, W, C] : {std::tuple{1, 1, 1}, {4, 3, 2}, {3, 5, 3}, {1, 6, 4}, {6, 6, 1}}) {
        const Matrix l = cholesky(covariance(H, W, C));
        double nats = 0;
        for (std::size_t i = 0; i < l.size(); ++i)
            nats += 0.5 * std::log(2 * std::numbers::pi * std::numbers::e) + std::log(l[i][i]);
        EXPECT_NEAR(gauss_entropy_bpd(H, W, C), nats / (H * W * C * std::numbers::ln2), 1e-12) << H << W << C;
    }
}

// The smallest variance of an element given all others along an axis of `size` elements, relative to its
// variance.
double smallest_conditional_variance(index_t size, double rho) {
    if (size == 1) return 1.0;
    return size == 2 ? 1.0 - rho * rho : (1 - rho * rho) / (1 + rho * rho);
}

// The smallest standard deviation of a pixel given all others, in gray levels.
double smallest_conditional_sd(index_t H, index_t W, index_t C) {
    return kGaussSd * std::sqrt(smallest_conditional_variance(H, kGaussRhoH) *
                                smallest_conditional_variance(W, kGaussRhoW) *
                                smallest_conditional_variance(C, kGaussRhoC));
}

TEST(SyntheticGauss, ConditionalDeviationExceedsSixGrayLevels) {
    for (const auto& [H, W, C] : {std::tuple{1, 1, 1}, {2, 2, 2}, {5, 5, 3}, {7, 4, 4}, {3, 1, 3}}) {
        const Matrix l = cholesky(covariance(H, W, C));
        const std::size_t D = l.size();
        double smallest = 1e9;
        for (std::size_t i = 0; i < D; ++i) {
            // Element (i, i) of the inverse: |L^-1 e_i|^2.
            std::vector<double> x(D);
            double precision = 0;
            for (std::size_t r = i; r < D; ++r) {
                double sum = r == i ? 1.0 : 0.0;
                for (std::size_t k = i; k < r; ++k) sum -= l[r][k] * x[k];
                x[r] = sum / l[r][r];
                precision += x[r] * x[r];
            }
            smallest = std::min(smallest, 1 / std::sqrt(precision));
        }
        EXPECT_GT(smallest, 6.0);
        EXPECT_NEAR(smallest, smallest_conditional_sd(H, W, C), 1e-9) << H << W << C;
    }
    EXPECT_GT(smallest_conditional_sd(256, 256, 4), 6.0);
}

// Compares variances and correlations of pixels with the covariance.
TEST(SyntheticGauss, PixelsHaveSpecifiedCovariance) {
    constexpr index_t N = 20000, H = 3, W = 3, C = 3, D = H * W * C;
    const auto images = make(3, 0, N, H, W, C);
    const Matrix expected = covariance(H, W, C);
    for (index_t i = 0; i < D; ++i) {
        for (index_t j = 0; j <= i; ++j) {
            double sum = 0, sum_i = 0;
            for (index_t n = 0; n < N; ++n) {
                // Flooring lowers a pixel by 1/2 on average.
                const double a = images[static_cast<std::size_t>(n * D + i)] + 0.5 - kGaussMean;
                const double b = images[static_cast<std::size_t>(n * D + j)] + 0.5 - kGaussMean;
                sum += a * b;
                sum_i += a;
            }
            const double want = expected[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
            // Flooring adds 1/12 to variances. Five standard deviations of the estimate, sd^2 sqrt((1 + r^2)
            // / N).
            EXPECT_NEAR(sum / N, want + (i == j ? 1.0 / 12 : 0),
                        5 * kGaussSd * kGaussSd * std::sqrt(2.0 / N));
            EXPECT_NEAR(sum_i / N, 0, 5 * kGaussSd / std::sqrt(N));
        }
    }
}

// Bits/dim of the true density on 8-bit pixels with uniform noise: the best any model can reach.
double bits_per_dim_of_the_truth(const std::vector<std::uint8_t>& images, index_t H, index_t W, index_t C) {
    const index_t D = H * W * C;
    double squares = 0;
    std::vector<double> y(static_cast<std::size_t>(D));
    std::uint64_t state = 1;
    const auto whiten = [&](index_t outer, index_t size, index_t inner, double rho) {
        for (index_t o = 0; o < outer; ++o)
            for (index_t k = size * inner - 1; k >= inner; --k) {
                double* at = y.data() + o * size * inner + k;
                *at = (*at - rho * at[-inner]) / std::sqrt(1 - rho * rho);
            }
    };
    for (std::size_t start = 0; start < images.size(); start += static_cast<std::size_t>(D)) {
        for (std::size_t i = 0; i < y.size(); ++i) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            y[i] = (images[start + i] + static_cast<double>(state >> 11) * 0x1p-53 - kGaussMean) / kGaussSd;
        }
        whiten(H * W, C, 1, kGaussRhoC);
        whiten(H, W, C, kGaussRhoW);
        whiten(1, H, W * C, kGaussRhoH);
        for (const double n : y) squares += n * n;
    }
    // log p = -|n|^2 / 2 - D/2 ln(2 pi) - ln det; the last two terms are the entropy minus D/2.
    const double mean_square = squares / static_cast<double>(images.size());
    return gauss_entropy_bpd(H, W, C) + (mean_square - 1) / (2 * std::numbers::ln2);
}

TEST(SyntheticGauss, TrueDensityMatchesStoredEntropy) {
    constexpr index_t N = 2000, H = 32, W = 32, C = 3;
    auto images = make(1, 0, N, H, W, C);
    // Standard error sqrt(1/2) / ln 2 / sqrt(N D) = 0.0004 bits, rounding to 8 bits 0.0014: within the
    // documented 0.005.
    EXPECT_NEAR(bits_per_dim_of_the_truth(images, H, W, C), gauss_entropy_bpd(H, W, C), 0.005);
    // Counter-check: pixels with half the correlation along columns cost more.
    for (std::size_t i = 0; i < images.size(); i += 7) images[i] = images[images.size() - 1 - i];
    EXPECT_GT(bits_per_dim_of_the_truth(images, H, W, C), gauss_entropy_bpd(H, W, C) + 0.1);
}

TEST(SyntheticGauss, ClippingIsNegligible) {
    const auto images = make(2, 0, 1000, 32, 32, 3);
    index_t edge = 0;
    for (const std::uint8_t pixel : images) edge += pixel == 0 || pixel == 255;
    // 2 Q(5.29) = 1.2e-7 of 3.1 million pixels are clipped: 0.4 expected.
    EXPECT_LE(edge, 6);
}

TEST(SyntheticGauss, DependsOnlyOnSeedAndNumber) {
    constexpr index_t D = 8 * 8 * 3;
    const auto all = make(4, 100, 20, 8, 8, 3, 2);
    EXPECT_EQ(all, make(4, 100, 20, 8, 8, 3, 1));
    for (index_t n = 0; n < 20; ++n)
        EXPECT_EQ(make(4, 100 + n, 1, 8, 8, 3),
                  std::vector<std::uint8_t>(all.begin() + n * D, all.begin() + (n + 1) * D));
    EXPECT_NE(make(5, 100, 20, 8, 8, 3), all);
    EXPECT_NE(make(4, kGaussSplitStride + 100, 20, 8, 8, 3), all);
}

}  // namespace
}  // namespace glow

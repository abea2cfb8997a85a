// Statistics of bits/dim of single images: to find unlikely images, and to tell two data sets apart.
//
// Likelihoods favor smooth images regardless of the training data (Nalisnick et al. 2019), so bits/dim alone
// do not detect out-of-distribution images. The corrected score subtracts what a general compressor needs
// (Serra et al. 2020): the model's bits/dim minus bits/dim of the image as a PNG file. High means more
// surprising than complex.
#pragma once

#include <optional>
#include <vector>

#include "data/dataset.h"

namespace glow {

// Bits per value of each image encoded as a separate PNG file: [N]. Gray or RGB, with or without alpha.
// Encodes only the upper n_bits bits of each pixel, which the model sees.
std::vector<double> png_bits_per_dim(const SplitImages& images, int n_bits);

// Probability that a value of `high` exceeds one of `low`, ties counting half: the area under the ROC curve.
// Both must be non-empty.
double auroc(const std::vector<double>& low, const std::vector<double>& high);

// Pearson correlation; none if `a` or `b` is constant.
std::optional<double> correlation(const std::vector<double>& a, const std::vector<double>& b);

// Indices 0 .. N - 1 in order of ascending values (stable).
std::vector<index_t> argsort(const std::vector<double>& values);

}  // namespace glow

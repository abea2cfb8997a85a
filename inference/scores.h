// What bits/dim of single images are used for: which are unlikely, and which of two data sets they come from.
//
// A likelihood prefers smooth images whatever it was trained on (Nalisnick et al. 2019), so bits/dim alone do
// not tell what is foreign. The corrected score takes off what a general compressor needs (Serra et al.
// 2020): bits/dim of the model minus bits/dim of the image as a PNG file; high: more surprising than it is
// complex.
#pragma once

#include <vector>

#include "data/dataset.h"

namespace glow {

// Bits of each image as a PNG file of its own, per value: [N]. Gray or RGB, with or without alpha.
std::vector<double> png_bits_per_dim(const SplitImages& images);

// How often a number of `high` is above one of `low`, a tie half: the area under the ROC curve of the test
// "above a threshold is high". Both not empty.
double auroc(const std::vector<double>& low, const std::vector<double>& high);

// Pearson's; 0 where one of them does not vary.
double correlation(const std::vector<double>& a, const std::vector<double>& b);

// The numbers 0 .. N - 1 in the order of rising values, equal ones in their own order.
std::vector<index_t> rising_order(const std::vector<double>& values);

}  // namespace glow

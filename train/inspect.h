// What a run shows of its model on the way: bits/dim of the validation images, a sheet of samples.
#pragma once

#include "train/data/dataset.h"
#include "train/data/png.h"
#include "train/inference.h"
#include "train/step.h"

namespace glow {

// Mean bits/dim of all images with the raw or the averaged weights. Of several processes each calls it and
// evaluates its share; the result is the same on all.
Mean mean_bits_per_dim(Trainer& trainer, const SplitImages& images, std::uint64_t seed, bool ema);

// Samples of the averaged weights at temperature 0.7, the same noise for the same seed, columns of classes
// where the model has some. Of several processes each calls it and draws its share; the first one has the
// sheet. No image (H = 0) on the others, and where one sample alone is too large for a sheet.
Image sheet_of_samples(Trainer& trainer, std::uint64_t seed);

}  // namespace glow

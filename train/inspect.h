// What a run knows of its model on the way: bits/dim of the validation images. Its sheets: sample_sheet.h.
#pragma once

#include "data/dataset.h"
#include "inference/inference.h"
#include "train/step.h"

namespace glow {

// Mean bits/dim of all images with the raw or the averaged weights. Of several processes each calls it and
// evaluates its share; the result is the same on all.
Mean mean_bits_per_dim(Trainer& trainer, const SplitImages& images, std::uint64_t seed, bool ema);

}  // namespace glow

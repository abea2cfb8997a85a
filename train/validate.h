// Validation during training: mean bits/dim.
#pragma once

#include <functional>
#include <optional>

#include "data/dataset.h"
#include "inference/statistics.h"
#include "train/trainer.h"

namespace glow {

// Mean bits/dim of all images with raw or averaged weights. Collective: each process evaluates its slice; all
// return the same result. stop: asked before every batch, with the same answer on all processes; true ends
// the evaluation without a result.
std::optional<Mean> mean_bits_per_dim(Trainer& trainer, const SplitImages& images, std::uint64_t seed,
                                      bool ema, const std::function<bool()>& stop = nullptr);

}  // namespace glow

// When a step has failed, and what is tried again.
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "layers/memory_policy.h"
#include "train/options.h"

namespace glow {

struct TrainingHistory;

// A loss, gradient or weight that is not finite, a singular W, a jump of the loss or of a condition number,
// or drift with every state saved. The weights may be the cause: continue only from an earlier checkpoint.
// Trainer::step() throws the same on all processes.
struct StepFailure : Error {
    // `found` must have kind, layer, tensor and statistics; the message is added.
    StepFailure(const std::string& message, nlohmann::ordered_json found);
    nlohmann::ordered_json found;  // keys: see docs/formats.md
};

// Drift with fused updates: the step has already changed the weights and cannot be repeated, so reload them
// from a checkpoint. The trainer saves more states from then on.
struct DriftError : Error {
    using Error::Error;
};

// Limits above which a step has failed; infinite until enough steps are known.
struct Limits {
    double loss = std::numeric_limits<double>::infinity();       // bits/dim
    double condition = std::numeric_limits<double>::infinity();  // of any W
};
// A loss above the mean by more than --loss-jump bits/dim and 8 standard deviations, for batches of at least
// 4; a condition number above the mean by more than a factor of --condition-jump. 0: no limit.
Limits limits_of(const TrainingHistory& history, const TrainingOptions& options);

// Memory policies to try in order: the requested one, then safer ones if the reconstruction drifts. Those
// save no maps, so their bytes are at most those of the policy checkpoint.
std::vector<MemoryPolicy> fallback_policies(const MemoryPolicy& requested);

}  // namespace glow

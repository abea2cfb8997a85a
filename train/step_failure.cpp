#include "train/step_failure.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "train/history.h"

namespace glow {
namespace {

constexpr index_t kEarlySteps = 16;  // steps before the deviation of losses is reliable
constexpr double kEarlyJump = 10;    // limit in bits/dim until then
constexpr double kDeviations = 8;
// minimum batch size: with fewer, a single unusual image dominates the loss
constexpr index_t kMinImages = 4;

}  // namespace

StepFailure::StepFailure(const std::string& message, nlohmann::ordered_json what)
    : Error(message + "; lower --lr or resume from an earlier checkpoint"), found(std::move(what)) {
    found["message"] = message;
}

Limits limits_of(const TrainingHistory& history, const TrainingOptions& options) {
    Limits limits;
    if (history.steps == 0) return limits;
    if (options.loss_jump > 0 && options.batch >= kMinImages)
        limits.loss =
            history.loss + std::max({options.loss_jump, kDeviations * std::sqrt(history.loss_variance),
                                     history.steps < kEarlySteps ? kEarlyJump : 0.0});
    if (options.condition_jump > 0)
        limits.condition = options.condition_jump * std::exp(history.log_condition);
    return limits;
}

std::vector<MemoryPolicy> fallback_policies(const MemoryPolicy& requested) {
    std::vector<MemoryPolicy> all = {requested};
    MemoryPolicy safer;
    for (const index_t anchor_every : {16, 1}) {
        safer.anchor_every = anchor_every;
        if (requested.anchor_every == 0 || requested.anchor_every > anchor_every ||
            !requested.last_maps.empty())
            all.push_back(safer);
    }
    if (requested.float_states && requested.anchor_every == 1) all.push_back(safer);
    return all;
}

}  // namespace glow

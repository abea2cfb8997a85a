// Failed steps: when a step counts as failed, what is retried, and how a run continues from an earlier
// checkpoint.
#pragma once

#include <array>
#include <deque>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "layers/memory_policy.h"
#include "train/history.h"
#include "train/run_folder.h"

namespace glow {

class Session;
struct StepResult;

// A loss, gradient or weight that is not finite, a singular W, a jump of the loss or of a condition number,
// or drift with every state saved. The weights may be the cause: continue only from an earlier checkpoint.
// All processes throw the same.
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

// Rolls a run back to an earlier checkpoint. All functions are collective.
class Recovery {
  public:
    explicit Recovery(Session& session) : session_(session) {}

    // Records a step for later failure reports.
    void remember(index_t step, const StepResult& result);
    // Rolls back to a good state with a lower learning rate, and writes a report to the run's folder: first
    // to the last checkpoint, then to an older one each time the run fails at or before the same step. Throws
    // Error after --rollbacks of them.
    void roll_back(const StepFailure& failure, index_t step);
    // Rolls back to the last checkpoint, and saves more states from then on, also when resumed.
    void save_more_states(const DriftError& drift, index_t step);

    index_t rollbacks() const { return rollbacks_; }

  private:
    nlohmann::ordered_json report_of(const StepFailure& failure, index_t step) const;
    void reload(index_t newest, index_t step);
    bool load(const RunFolder::Saved& saved, TrainingProgress& progress);

    Session& session_;
    std::deque<std::array<double, 5>> last_steps_;  // step, loss, gradient norm, condition, drift
    index_t rollbacks_ = 0;
};

}  // namespace glow

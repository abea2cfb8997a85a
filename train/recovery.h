// Steps that go wrong: when a step counts as gone wrong, what is tried again, and how a run continues from an earlier
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

// A loss, gradient or weight that is not finite, a singular W, a jump of the loss or of a condition number, or drift
// with every state saved. The weights may be the cause: continue only from an earlier checkpoint. All processes throw
// the same.
struct StepFailure : Error {
    // `found` has kind, layer, tensor and statistics at least; the message goes into it.
    StepFailure(const std::string& message, nlohmann::ordered_json found);
    nlohmann::ordered_json found;  // docs/formats.md lists its keys
};

// Drift with fused updates: a step that cannot be redone has changed the weights, which must be read again from a
// checkpoint. The trainer saves more states from then on.
struct DriftError : Error {
    using Error::Error;
};

// What a step may come to before it counts as gone wrong; infinite where nothing is known yet.
struct Limits {
    double loss = std::numeric_limits<double>::infinity();       // bits/dim
    double condition = std::numeric_limits<double>::infinity();  // of any W
};
// A loss above the mean by more than --loss-jump bits/dim and 8 standard deviations, of batches of at least 4; a
// condition number above the mean by a factor of more than --condition-jump. 0: no limit.
Limits limits_of(const TrainingHistory& history, const TrainingOptions& options);

// Memory policies to try in order: the requested one, then safer ones if the reconstruction drifts. Those save no
// maps, so their bytes are at most those of the policy checkpoint.
std::vector<MemoryPolicy> fallback_policies(const MemoryPolicy& requested);

// Takes a run back to an earlier checkpoint. All functions are collective.
class Recovery {
  public:
    explicit Recovery(Session& session) : session_(session) {}

    // For the reports of later failures.
    void remember(index_t step, const StepResult& result);
    // Back to a good state with a lower learning rate, and a report in the run's folder: the first time in a row to
    // the last checkpoint, then to an older one each time that the run fails at or before the same step. Error after
    // --rollbacks of them.
    void roll_back(const StepFailure& failure, index_t step);
    // Back to the last checkpoint, with more states saved from then on, also when the run is resumed.
    void save_more_states(const DriftError& drift, index_t step);

    index_t rollbacks() const { return rollbacks_; }

  private:
    nlohmann::ordered_json report_of(const StepFailure& failure, index_t step) const;
    void reload(index_t newest, index_t step);
    bool load(const RunFolder::Saved& saved, TrainingProgress& progress);

    Session& session_;
    std::deque<std::array<double, 5>> last_steps_;  // step, loss, norm of the gradient, condition, drift
    index_t rollbacks_ = 0;
};

}  // namespace glow

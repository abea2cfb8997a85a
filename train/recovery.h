// Continues a run from an earlier checkpoint after a failed step (train/step_failure.h).
#pragma once

#include <array>
#include <deque>
#include <nlohmann/json.hpp>

#include "kernels/base.h"
#include "train/history.h"
#include "train/run_folder.h"
#include "train/step_failure.h"

namespace glow {

struct Session;
struct StepResult;

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
    // Reloads the last checkpoint. The run then saves more states, as the trainer now does, also when resumed.
    void reload_after_drift(const DriftError& drift, index_t step);

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

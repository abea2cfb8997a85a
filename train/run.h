// A run from start to end: data, model, steps, evaluations, checkpoints, logs.
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>

#include "train/step.h"

namespace glow {

struct RunRequest {
    TrainingOptions options;
    Device device = Device::cpu;
    // Go on from resume_from, or the folder's latest.h5; start afresh where there is none.
    bool resume = false;
    std::string resume_from;                      // a checkpoint; empty: latest.h5 of the folder
    std::string init_from;                        // a checkpoint whose raw weights to start from
    std::function<void(const std::string&)> say;  // a line for people
    bool terminal = false;                        // a progress line may be redrawn on stderr
    // Of several processes, which all make the same request; nullptr: this process alone. The first one reads
    // and writes the run's folder and should be the one that says anything.
    Communicator* processes = nullptr;
};

struct RunResult {
    Progress progress;
    std::string ended;  // why: "max-steps", "max-minutes", "epochs", "signal"
    double bits_per_dim = std::numeric_limits<double>::quiet_NaN();  // of the last step, where one was left
    std::optional<Mean> valid_ema, valid_raw;  // at the end, where the data set has /valid
    std::size_t planned_bytes = 0, peak_bytes = 0, process_growth_bytes = 0;
    std::string checkpoint;
};

RunResult run_training(const RunRequest& request);

// The memory plan of a run, and the largest batch (at once) and depth with which it would fit into the
// machine; of the data set only its shape is read.
struct PlannedRun {
    MemoryPlan plan;
    std::size_t machine_bytes = 0;
    index_t largest_batch = 0, largest_depth = 0;  // 0: not even 1 fits
};
PlannedRun plan_run(const RunRequest& request);
// The largest x in 1..most with fits(x), which holds up to some x and for none beyond; 0 where none does.
index_t largest_that_fits(index_t most, const std::function<bool(index_t)>& fits);
// The plan as lines for people.
std::string describe(const MemoryPlan& plan);

}  // namespace glow

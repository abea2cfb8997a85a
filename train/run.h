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

}  // namespace glow

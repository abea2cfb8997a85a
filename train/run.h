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
    bool accept_new_data = false;                 // resume though the data set's contents have changed
    std::string resume_from;                      // a checkpoint; empty: latest.h5 of the folder
    std::string init_from;                        // a checkpoint whose raw weights to start from
    std::function<void(const std::string&)> say;  // a line for people
    std::function<void(const std::string&)>
        warn;               // ... about what they should know, also where they want quiet
    bool terminal = false;  // a progress line may be redrawn on stderr
    // Of several processes, which all make the same request; nullptr: this process alone. The first one reads
    // and writes the run's folder and should be the one that says anything.
    Communicator* processes = nullptr;
    // For tests: called before every step, with its number, on every process. A hand in the works.
    std::function<void(index_t step, Trainer& trainer)> before_step;
};

struct RunResult {
    Progress progress;
    std::string ended;  // why: "max-steps", "max-minutes", "epochs", "signal"
    double bits_per_dim = std::numeric_limits<double>::quiet_NaN();  // of the last step, where one was left
    std::optional<Mean> valid_ema, valid_raw;  // at the end, where the data set has /valid
    std::size_t planned_bytes = 0, peak_bytes = 0, process_growth_bytes = 0;
    std::string checkpoint;
    index_t rollbacks = 0;
    double lr_scale = 1;  // what they left of the learning rate
};

// A step that goes wrong (train/recovery.h) sends the run back to its last checkpoint, with a lower learning
// rate and a report in the folder; Error after options.rollbacks of them in a row. What cannot be written on
// the way is told and tried again at the next occasion; Error where that is the end of the run.
RunResult run_training(const RunRequest& request);

// What a run will take, by its first steps on its data. Nothing is written.
struct Estimate {
    MemoryPlan plan;
    std::size_t peak_bytes = 0, process_growth_bytes = 0;
    index_t timed_steps = 0;
    double step_seconds = 0;  // median
    double images_per_s = 0;
    double epoch_seconds = 0;
    index_t steps_left = 0;   // to the nearest of --epochs and --max-steps; 0: without limit
    double seconds_left = 0;  // likewise, and not beyond --max-minutes; without evaluations and checkpoints
};
Estimate estimate_run(const RunRequest& request);

}  // namespace glow

// Estimates a run's memory and duration from its first steps.
#pragma once

#include <optional>

#include "train/memory_plan.h"
#include "train/run.h"

namespace glow {

struct StoreEstimate {
    std::size_t more_bytes = 0;
    double speedup = 1;  // median over pairs of steps
};
struct Estimate {
    MemoryPlan plan;
    std::size_t peak_bytes = 0, process_growth_bytes = 0;
    index_t timed_steps = 0;
    double step_seconds = 0;  // median
    double images_per_s = 0;
    double epoch_seconds = 0;
    // Empty: the run has no such limit.
    std::optional<index_t> steps_left;   // to the first of --epochs and --max-steps
    std::optional<double> seconds_left;  // to the first limit, without evaluations and checkpoints
    bool ends_by_steps = false;          // the first limit is that of steps_left
    // The same run with policy store; only if that may be faster, fits in memory, and steps are short enough
    // to measure both.
    std::optional<StoreEstimate> store;
};
// Runs and times the first steps on the run's data. Writes no files.
Estimate estimate_run(const RunRequest& request);

}  // namespace glow

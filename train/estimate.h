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
    index_t steps_left = 0;   // to the first of --epochs and --max-steps; 0: no limit
    double seconds_left = 0;  // the same, limited by --max-minutes; without evaluations and checkpoints
    // The same run with policy store; only if that may be faster, fits in memory, and steps are short enough
    // to measure both.
    std::optional<StoreEstimate> store;
};
// Runs and times the first steps on the run's data. Writes no files.
Estimate estimate_run(const RunRequest& request);

}  // namespace glow

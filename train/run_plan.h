// Planning of a run: its model for a data set, its memory plan, and the largest batch and depth that fit.
#pragma once

#include <optional>
#include <string>

#include "data/dataset.h"
#include "runtime/memory_limit.h"
#include "train/memory_plan.h"
#include "train/run.h"

namespace glow {

// Sets the parts of the model that depend on the data set: image shape and number of classes. Throws
// InputError if the model does not fit it.
void fit_model(const DatasetInfo& info, TrainingOptions& options);

// Formats the plan.
std::string describe(const MemoryPlan& plan);

// What policy `store` would take, for a run that recomputes network maps. Empty if it recomputes none, or if
// that exceeds the memory of this machine.
struct StoreAlternative {
    TrainingOptions options;     // the run's, with policy store
    std::size_t more_bytes = 0;  // than the run's plan, per process
    double work = 1;             // network work of a step, as a fraction of the run's
};
std::optional<StoreAlternative> store_alternative(const TrainingOptions& options, index_t init_images,
                                                  const Backend& backend, const MemoryPlan& plan);

// The memory plan of a run, and the largest batch (per pass, up to the whole training set) and depth (up to
// kMaxDepth) that fit. Reads only the shape of the data set.
inline constexpr index_t kMaxDepth = 1 << 12;
struct PlannedRun {
    TrainingOptions options;  // completed
    MemoryPlan plan;          // of one process
    ProcessGroup group;
    MemoryLimit limit;    // of the processes of this host, or of a GPU; 0 bytes: unknown
    std::string problem;  // why it does not fit; empty if it does
    index_t train_images = 0;
    index_t largest_batch = 0, largest_depth = 0;  // 0: not even 1 fits
    std::optional<StoreAlternative> store;
};
// Formats the plan with its limits.
std::string describe(const PlannedRun& planned);
PlannedRun plan_run(const RunRequest& request);

}  // namespace glow

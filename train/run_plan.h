// Planning of a run: options that depend on data set and machine, its memory plan, and the largest batch and
// depth that fit.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "data/dataset.h"
#include "train/run.h"

namespace glow {

// Sets the parts of the model that depend on the data set: image shape and number of classes. Throws
// InputError if the model does not fit it.
void fit_model(const DatasetInfo& info, TrainingOptions& options);

// Bytes of maps that `auto` saves: the option, otherwise that of the resumed run (0: none), otherwise a quarter of the
// machine's memory.
index_t act_budget(const TrainingOptions& options, index_t resumed);

// Location of the images during training, and a warning (or empty).
struct DataAccess {
    bool on_disk = false;
    std::string warning;
};
// option: memory, disk, or auto: memory if the images take less than a quarter of the machine's memory, or
// half of it if reading single images from the file is slow. `chunks`: the layout of the slowest split;
// `sharing`: processes on this machine, each with all images.
DataAccess choose_data_access(ImageAccess option, const std::string& data, std::size_t image_bytes,
                              std::size_t machine_bytes, int sharing, const ChunkInfo& chunks);

// Formats the plan.
std::string describe(const MemoryPlan& plan);
// Throws InputError if `processes` times `each` bytes exceed the machine's memory. Memory is committed only
// when touched, so an oversized run would be killed hours later.
void refuse_beyond_machine(std::size_t each, int processes);

// What policy `store` would take, for a run that rebuilds network maps; empty if it rebuilds none, or if that exceeds the
// memory of this machine.
struct StoreOffer {
    TrainingOptions options;     // the run's, with policy store
    std::size_t more_bytes = 0;  // than the run's plan, per process
    double work = 1;             // network work of a step, as a fraction of the run's
};
std::optional<StoreOffer> store_offer(const TrainingOptions& options, index_t init_images,
                                      const Backend& backend, const MemoryPlan& plan);

// The memory plan of a run, and the largest batch (per pass) and depth that fit this machine. Reads only the
// shape of the data set.
struct PlannedRun {
    MemoryPlan plan;
    std::size_t machine_bytes = 0;
    index_t largest_batch = 0, largest_depth = 0;  // 0: not even 1 fits
    std::optional<StoreOffer> store;
};
PlannedRun plan_run(const RunRequest& request);
// The largest x in 1..most with fits(x), for monotonic fits; 0 if there is none.
index_t largest_that_fits(index_t most, const std::function<bool(index_t)>& fits);

}  // namespace glow

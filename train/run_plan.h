// What a run will take before it starts: the parts of its options that the data set and the machine decide,
// its memory plan, and the largest batch and depth that fit.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "data/dataset.h"
#include "train/run.h"

namespace glow {

// The parts of the model that the data set decides: shape of the images, number of classes. InputError where
// the model does not suit it.
void fit_model(const DatasetInfo& info, TrainingOptions& options);

// Bytes of maps that `auto` keeps: the option, else those of the run that is resumed (0: none), else a quarter of the
// machine's memory.
index_t act_budget(const TrainingOptions& options, index_t resumed);

// Where the images are while a run trains, and what to warn of (else empty).
struct DataAccess {
    bool on_disk = false;
    std::string warning;
};
// option: memory, disk, or auto: in memory where the images are less than a quarter of the machine's, or half
// of it where reading single images from the file is slow. `chunks`: of the split that is slowest to read;
// `sharing`: processes on this machine, each with all images.
DataAccess choose_data_access(const std::string& option, const std::string& data, std::size_t image_bytes,
                              std::size_t machine_bytes, int sharing, const ChunkInfo& chunks);

// The plan as lines for people.
std::string describe(const MemoryPlan& plan);
// InputError where `processes` of `each` bytes are more than the machine has. Memory is only taken when it is
// touched: a plan beyond the machine would be killed hours later.
void refuse_beyond_machine(std::size_t each, int processes);

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

}  // namespace glow

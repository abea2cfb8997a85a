// Planning of a run: options that depend on data set and machine, its memory plan, and the largest batch and
// depth that fit.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "data/dataset.h"
#include "runtime/memory_limit.h"
#include "train/run.h"

namespace glow {

// Sets the parts of the model that depend on the data set: image shape and number of classes. Throws
// InputError if the model does not fit it.
void fit_model(const DatasetInfo& info, TrainingOptions& options);

// Bytes of hidden maps that `auto` saves in each process: a quarter of the memory of the machine, or of the
// GPU, shared by the processes that use it.
index_t default_act_budget(Device device, const ProcessGroup& group);

// Sets one size that the options leave open. With max_memory: micro_batch, to that of the resumed run
// (nullptr: a new run). Without it, for policy `auto`: act_budget, to that of the resumed run or else to
// default_act_budget().
void reuse_recorded_sizes(TrainingOptions& options, const TrainingOptions* resumed, Device device,
                          const ProcessGroup& group);

// Whether reading single images from disk is slow: compressed chunks of many images are unpacked for each.
bool unpacks_many_images(const ChunkInfo& chunks);
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
// Address space that a CPU run reserves in case drift makes a step save every state.
std::size_t fallback_bytes(const MemoryPlan& plan);

// What policy `store` would take, for a run that recomputes network maps. Empty if it recomputes none, or if
// that exceeds the memory of this machine.
struct StoreAlternative {
    TrainingOptions options;     // the run's, with policy store
    std::size_t more_bytes = 0;  // than the run's plan, per process
    double work = 1;             // network work of a step, as a fraction of the run's
};
std::optional<StoreAlternative> store_alternative(const TrainingOptions& options, index_t init_images,
                                                  const Backend& backend, const MemoryPlan& plan);

// Why `processes` processes of a host cannot have `each` bytes of arenas; empty if they can. more: additional
// address space of each. Memory is committed only when touched, so an oversized run would be killed hours
// later.
std::string memory_problem(std::size_t each, int processes, std::size_t more = 0);

// Fits a run to options.max_memory, if given: chooses what `auto` saves, and micro-batches if the batch is
// too large (which resumed runs keep). plan: of options. image_bytes: images in a process's memory. Throws
// InputError if nothing fits.
void fit_memory(TrainingOptions& options, const std::function<MemoryPlan(const TrainingOptions&)>& plan,
                const ProcessGroup& group, Device device, std::size_t image_bytes);

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
// The largest x in 1..most with fits(x), for monotonic fits; 0 if there is none.
index_t largest_that_fits(index_t most, const std::function<bool(index_t)>& fits);

}  // namespace glow

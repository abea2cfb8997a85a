// Whether a run fits in memory, and how to make it fit.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "runtime/communicator.h"
#include "runtime/memory_limit.h"
#include "train/memory_plan.h"
#include "train/options.h"

namespace glow {

// Bytes of hidden maps that `auto` saves in each process: a quarter of the memory of the machine, or of the
// GPU, shared by the processes that use it.
index_t default_act_budget(Device device, const ProcessGroup& group);

// Sets a size that the options leave open. With max_memory: micro_batch, from the resumed run (nullptr: a new
// run). Without max_memory and with policy `auto`: act_budget, from the resumed run or
// default_act_budget().
void reuse_recorded_sizes(TrainingOptions& options, const TrainingOptions* resumed, Device device,
                          const ProcessGroup& group);

// Address space that a CPU run reserves in case drift makes a step save every state.
std::size_t fallback_bytes(const MemoryPlan& plan);

// Memory for the arenas of a run on the GPU; 0 bytes without one.
MemoryLimit gpu_memory_limit();

// Error message: the run needs more memory than `limit`. needed: for example "3 GiB for 2 processes".
std::string memory_problem(const std::string& needed, const MemoryLimit& limit);
// Why `processes` processes of a host cannot have `each` bytes of arenas; empty if they can. more: additional
// address space of each. Memory is committed only when touched, so an oversized run would be killed hours
// later.
std::string memory_problem(std::size_t each, int processes, std::size_t more = 0);

// Fits a run to options.max_memory, if given: chooses what `auto` saves, and micro-batches if the batch is
// too large (which resumed runs keep). plan: of options. image_bytes: images in a process's memory. Throws
// InputError if nothing fits.
void fit_memory(TrainingOptions& options, const std::function<MemoryPlan(const TrainingOptions&)>& plan,
                const ProcessGroup& group, Device device, std::size_t image_bytes);

// The largest x in 1..most with fits(x), for monotonic fits; 0 if there is none.
index_t largest_that_fits(index_t most, const std::function<bool(index_t)>& fits);

}  // namespace glow

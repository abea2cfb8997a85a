// Planned memory of a run by category, from running its parts on counting arenas.
#pragma once

#include "layers/memory_policy.h"
#include "runtime/context.h"
#include "train/options.h"

namespace glow {

// Plan of one process. fallback_stored: size of `stored` if drift makes a step save every state.
struct MemoryPlan {
    MemoryBytes bytes{};
    std::size_t fallback_stored = 0;
    MemoryPolicy policy;       // policy chosen for --memory
    double network_units = 0;  // its cost: Glow::network_units()
};
// What a plan counts: a trainer without updates, with updates, or with updates and the batches that a run's
// loop uploads.
enum class PlanScope { gradients, trainer, run };
// Arena sizes for a plan. On a CPU they include fallback_stored, which only reserves addresses until drift
// occurs; a GPU allocates it then.
MemoryBytes capacity_of(const MemoryPlan& plan, Device device);
// init_images: for Trainer::initialize(); 0: the weights come from a checkpoint.
MemoryPlan memory_plan(const TrainingOptions& options, index_t init_images, const Backend& backend,
                       PlanScope scope = PlanScope::trainer);

}  // namespace glow

// Bytes of a run by category, from counting its parts on arenas that only count.
#pragma once

#include "layers/memory_policy.h"
#include "runtime/context.h"
#include "train/options.h"

namespace glow {

// Of one process. fallback_stored: what `stored` grows to if drift makes a step save every state.
struct MemoryPlan {
    MemoryBytes bytes{};
    std::size_t fallback_stored = 0;
    MemoryPolicy policy;       // what was chosen for --memory
    double network_units = 0;  // what that costs: Glow::network_units()
};
// What is counted: a trainer for gradients alone, one with updates, or that and the batches that a run's loop uploads.
enum class PlanScope { gradients, trainer, run };
MemoryPlan memory_plan(const TrainingOptions& options, index_t init_images, const Backend& backend,
                       PlanScope scope = PlanScope::trainer);

}  // namespace glow

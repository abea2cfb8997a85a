#include "train/memory_plan.h"

#include <algorithm>
#include <optional>

#include "data/batch.h"
#include "inference/evaluate.h"
#include "inference/sample.h"
#include "train/batch_prefetcher.h"
#include "train/trainer.h"

namespace glow {
namespace {

MemoryPlan count(const TrainingOptions& options, index_t init_images, const Backend& backend,
                 PlanScope scope) {
    Memory memory;
    Trainer trainer(options, backend, memory,
                    {.counting = true, .gradients_only = scope == PlanScope::gradients});
    std::optional<BatchPrefetcher> batches;
    const int processes = backend.communicator().size();  // rank 0 has the largest slices
    const index_t images = slice_of(options.batch, 0, processes).count;
    if (scope == PlanScope::run)
        batches.emplace(trainer.context().exec, backend.exec().device, memory[Category::state], options.model,
                        options.batch, images, nullptr);
    std::uint8_t pixel = 0;  // dummy: a counting run reads no image
    const std::uint64_t number = 0;
    const std::int32_t label = 0;
    const Batch batch{images, &pixel, &number, &label};
    if (init_images > 0)
        trainer.initialize({slice_of(init_images, 0, processes).count, &pixel, &number, &label});
    trainer.step(batch, {});
    if (options.audit_every > 0) trainer.audit(batch);
    evaluate(trainer.runnable(), batch, {.kind = dequantization_of(options.model)}, {});
    double largest = 0;
    sample(trainer.runnable(), {.count = trainer.buffers().capacity, .labels = &label}, &pixel, &largest);
    const MemoryBytes bytes = memory.peak();
    return {bytes, at(bytes, Category::stored), trainer.policy(),
            trainer.glow().network_units(trainer.policy())};
}

}  // namespace

MemoryBytes capacity_of(const MemoryPlan& plan, Device device) {
    MemoryBytes bytes = plan.bytes;
    if (device == Device::cpu) at(bytes, Category::stored) = plan.fallback_stored;
    return bytes;
}

MemoryPlan memory_plan(const TrainingOptions& options, index_t init_images, const Backend& backend,
                       PlanScope scope) {
    TrainingOptions planned = options;
    planned.init_batch = init_images;
    MemoryPlan plan = count(planned, init_images, backend, scope);
    if (options.memory == MemoryMode::reconstruct || options.memory == MemoryMode::automatic ||
        options.float_states) {
        planned.memory = MemoryMode::checkpoint;
        planned.float_states = planned.rounding_bits = false;
        const MemoryPlan checkpoint = count(planned, init_images, backend, scope);
        plan.fallback_stored = std::max(plan.fallback_stored, checkpoint.fallback_stored);
        // Recomputing networks, which a plan that stores all their maps does not need, takes more scratch.
        std::size_t& workspace = at(plan.bytes, Category::workspace);
        workspace = std::max(workspace, at(checkpoint.bytes, Category::workspace));
    }
    return plan;
}

}  // namespace glow

// One point of the memory-scaling experiment: bytes, speed and gradient of forward and backward of a whole
// model.
#pragma once

#include <optional>

#include "train/memory_plan.h"
#include "train/trainer.h"

namespace glow {

struct MemoryPoint {
    TrainingOptions options;      // model, batch, precision, policy; data and update options are ignored
    bool with_optimizer = false;  // otherwise parameters and gradients only
    int passes = 1;               // passes; the fastest is reported
};

// Plan of the point, including the optimizer only if the point does.
MemoryPlan predict(const MemoryPoint& point, const Backend& backend);

struct MemoryResult {
    MemoryBytes peak{};  // of every arena, measured
    // Memory growth since before the arenas: of the process (VmHWM), or of GPU memory in use.
    std::size_t process_bytes = 0;
    double step_ms = 0;
    double drift = 0;                      // largest |reconstructed x - x|
    std::vector<float> params, gradients;  // no gradients with fused updates
};
// Runs a point: smooth random images, data-dependent initialization, every parameter perturbed, no step
// repeated for drift. Frees the arenas on return.
MemoryResult measure(const MemoryPoint& point, const MemoryPlan& plan, const Backend& backend);

// Cosine between the result's gradient and that of policy checkpoint (store for a checkpoint point) with the
// same weights; empty if that needs more than `available` bytes. Measured afterwards, so it does not affect
// the result.
std::optional<double> gradient_cosine(const MemoryPoint& point, const MemoryResult& result,
                                      const Backend& backend, std::size_t available);

}  // namespace glow

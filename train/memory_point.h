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
    int passes = 1;               // timed; the fastest is reported
};

// Plan of the point, including the optimizer only if the point does.
MemoryPlan memory_plan(const MemoryPoint& point, const Backend& backend);

struct MemoryMeasurement {
    MemoryBytes peak{};  // of every arena
    // Memory growth since before the arenas: of the process (VmHWM), or of GPU memory in use.
    std::size_t process_bytes = 0;
    double step_ms = 0;
    double drift = 0;                      // largest |reconstructed x - x|
    std::vector<float> params, gradients;  // no gradients with fused updates
};
// Runs a point: smooth random images, data-dependent initialization, every parameter perturbed, no step
// repeated for drift. Frees the arenas on return.
MemoryMeasurement measure_memory(const MemoryPoint& point, const MemoryPlan& plan, const Backend& backend);

// Cosine between the measured gradient and that of policy checkpoint (store for a checkpoint point) with the
// same weights; empty if that needs more than `available` bytes. Needs memory of its own, after the
// measurement.
std::optional<double> gradient_cosine(const MemoryPoint& point, const MemoryMeasurement& measured,
                                      const Backend& backend, std::size_t available);

}  // namespace glow

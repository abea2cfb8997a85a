// One point of the memory-scaling experiment: bytes, speed and gradient of forward and backward of a whole
// model.
#pragma once

#include <optional>

#include "train/step.h"

namespace glow {

struct MemoryPoint {
    TrainingOptions
        options;  // model, batch, precision, policy; what concerns data and updates is not looked at
    bool with_optimizer = false;  // else parameters and gradients alone
    int passes = 1;               // of which the fastest is reported
};

// Options that the step is given, and its bytes by category, counted.
MemoryPlan predict(const MemoryPoint& point, const Backend& backend);

struct MemoryResult {
    MemoryBytes peak{};  // of every arena, measured
    // Growth since before the arenas were made: of the process (VmHWM), of a GPU's memory that is taken.
    std::size_t process_bytes = 0;
    double step_ms = 0;
    double drift = 0;                      // largest |rebuilt x - x|
    std::vector<float> params, gradients;  // no gradients where updates are fused
};
// Runs a point: initialized from its images (smooth random ones), every parameter moved off its start, no
// step redone for drift. The arenas are gone when it returns.
MemoryResult measure(const MemoryPoint& point, const MemoryPlan& plan, const Backend& backend);

// Cosine between the result's gradient and that of the policy checkpoint (of store for a point of checkpoint)
// with the same weights; empty where the bytes that this takes are more than `available`. Measured
// afterwards: it adds nothing to the result.
std::optional<double> gradient_cosine(const MemoryPoint& point, const MemoryResult& result,
                                      const Backend& backend, std::size_t available);

}  // namespace glow

// Finds where bad numbers originate, layer by layer and tensor by tensor. Slow; called only after a step has
// failed.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "layers/glow.h"
#include "layers/weights.h"
#include "runtime/context.h"
#include "train/step_failure.h"

namespace glow {

// A JSON number; NaN and infinities become strings: "nan", "inf", "-inf".
nlohmann::ordered_json json_number(double value);

// The data to examine. On several processes all diagnose at the same time, each with its own images.
struct FailureContext {
    const Context& context;
    Glow& glow;
    Weights weights;  // parameters bound and derived, unless deriving failed
    const float* gradients;
    // Loads the step's next images into flow.h; returns false if there are no more (a process may have none).
    // Overwrites the flow's buffers.
    std::function<bool(Flow&)> next_images;
};

// The first tensor, in the order of the flat array, with a non-finite value; nullptr if there is none.
template <class T>
const Tensor* bad_tensor(const Context& context, const Parameters& parameters, const T* values);

// The median loss of the step's images in bits/dim: insensitive to a few unusual images, but not to bad
// weights.
double typical_loss(const FailureContext& failed);

// The loss is not finite or above its limit.
StepFailure diagnose_loss(const FailureContext& failed, double loss, double limit);
// The gradient is not finite.
StepFailure diagnose_gradient(const FailureContext& failed);
// The same for fused updates, whose gradients no longer exist: `block` ("level0/step3") is the first affected
// block in backward order, empty if only the norm overflows.
StepFailure diagnose_fused_gradient(const FailureContext& failed, const std::string& block);
// The mixing of a step of flow ("level0/step3") is singular, one of the step's parameters is not finite, or
// its condition number is above the limit.
StepFailure diagnose_mixing(const FailureContext& failed, const std::string& step, double condition,
                            double limit);
// Reconstructed images differ from the originals even with every state saved.
StepFailure diagnose_drift(const FailureContext& failed, double drift, double tolerance);
// A tensor of a tree ("ema", "optimizer/m") is not finite.
template <class T>
StepFailure diagnose_tree(const FailureContext& failed, const std::string& tree, const T* values,
                          const Tensor& tensor);

}  // namespace glow

// Where bad numbers begin: looks through a model in training, layer by layer and tensor by tensor. Slow, and
// called only once a step went wrong.
#pragma once

#include <functional>
#include <string>

#include "layers/glow.h"
#include "runtime/context.h"
#include "inference/model_file.h"
#include "train/recovery.h"

namespace glow {

// As JSON, which has no numbers for these: "nan", "inf", "-inf".
nlohmann::ordered_json json_number(double value);

// What is looked at. Of several processes all look at the same time, each at its images.
struct FailureContext {
    const Context& context;
    Glow& glow;
    Weights weights;  // whose params are bound and prepared, unless preparing them was the trouble
    const float* gradients;
    // Makes flow.h of the step's next images; false where there are no more (a process may have none).
    // Overwrites the flow's buffers.
    std::function<bool(Flow&)> next_images;
};

// The first tensor of a flat array with a value that is not finite (the last one: the first on the way back);
// nullptr where all are.
template <class T>
const Tensor* bad_tensor(const Context& context, const Parameters& parameters, const T* values,
                         bool last = false);

// The median loss of the step's images, bits/dim: a few strange images do not move it, spoilt weights do.
double typical_loss(const FailureContext& failed);

// The step's loss is not finite, or above its limit.
StepFailure diagnose_loss(const FailureContext& failed, double loss, double limit);
// Its gradient is not finite.
StepFailure diagnose_gradient(const FailureContext& failed);
// The same of fused updates, whose gradients are gone: `piece` ("level0/step3") is the first on the way back
// that had one, empty where only their norm overflows.
StepFailure diagnose_fused_gradient(const FailureContext& failed, const std::string& piece);
// The mixing of a step of flow ("level0/step3") is singular or one of the step's parameters not finite, or
// its condition number is above its limit.
StepFailure diagnose_mixing(const FailureContext& failed, const std::string& step, double condition, double limit);
// Rebuilt images differ from the true ones though every state was kept.
StepFailure diagnose_drift(const FailureContext& failed, double drift, double tolerance);
// A tensor of a tree ("ema", "optimizer/m") is not finite.
template <class T>
StepFailure diagnose_tree(const FailureContext& failed, const std::string& tree, const T* values,
                          const Tensor& tensor);

}  // namespace glow

// Trainer: a model with its optimizer state, and one training step. step.cpp has the step and its checks,
// trainer.cpp the rest. Read step.cpp first.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/batch.h"
#include "inference/flow_buffers.h"
#include "kernels/optimizer.h"
#include "layers/derived_weights.h"
#include "layers/glow.h"
#include "layers/memory_policy.h"
#include "layers/weights.h"
#include "runtime/context.h"
#include "runtime/memory.h"
#include "train/audit.h"
#include "train/diagnosis.h"
#include "train/gradient_pass.h"
#include "train/options.h"
#include "train/step_failure.h"
#include "train/update.h"

namespace glow {

struct StepResult {
    double bits_per_dim = 0;         // mean over the batch, before the update
    double loss = 0;                 // bits/dim + weight_y * bits_y
    double bits_y = 0, error_y = 0;  // means of the classifier's cross-entropy in bits, and of its errors
    double grad_norm = 0;            // global L2, before clipping
    double drift = 0;                // largest |reconstructed x - x| over images and pixels
    double max_condition = 0;        // of the channel mixings W used by this step
    MemoryPolicy policy;             // of the last attempt: the step is repeated if drift is too large
    bool redone = false;             // drift made the step repeat with a safer policy
};

// What a Trainer does with its steps.
struct TrainerMode {
    bool counting = false;        // count memory without running
    bool gradients_only = false;  // no moments, averages and updates: a step leaves the weights unchanged
};

// A model in training: weights, moments, averages, and the buffers of a step. Each is allocated in the
// arena of `memory` for its Category.
class Trainer {
  public:
    // options.init_batch: maximum number of images for initialize(), or 0 if initialize() is not called.
    Trainer(const TrainingOptions& options, const Backend& backend, Memory& memory, TrainerMode mode = {});

    Glow& glow() { return glow_; }
    const Weights& weights() const { return weights_; }
    const float* gradients() const { return update_->gradients(); }  // nullptr with fused updates
    const MemoryPolicy& policy() const { return policy_; }
    const Context& context() const { return context_; }

    // The following functions are collective: with several processes, each calls them with its slice of the
    // images, and all get the same results. If one process throws, end the run on all.

    // Initializes the weights from the seed and the actnorms from the images, then calls reset_optimizer().
    // At most options.init_batch images over all processes.
    void initialize(const Batch& init_images);
    // Sets EMA = raw weights and moments = 0. Call after setting only the raw weights from outside.
    void reset_optimizer();
    // Call after writing to weights() from outside, for example from a checkpoint. reset_optimizer() and
    // broadcast_weights() include this call.
    void weights_changed() { derived_.invalidate(); }
    // Copies root's weights, averages and moments to all processes.
    void broadcast_weights();

    // One step: gradient of the mean bits/dim over the batch of all processes, then the update. Throws
    // StepFailure, the same on all processes, if a value is not finite, a condition number exceeds
    // limits.condition, or limits.loss is exceeded by the mean loss of the batch and by at least half of its
    // images. The weights are then unchanged, except with fused updates. With fused updates, drift throws
    // DriftError.
    StepResult step(const Batch& batch, const OptimizerStep& step, const Limits& limits = {});

    // Compares the gradients of policy() with gradients computed from exact states, on the first few images
    // of this process's batch. Changes only buffers. Requires options.audit_every.
    Audit audit(const Batch& batch);

    // Throws StepFailure if a checkpoint of these weights would be rejected on loading: a value is not finite
    // or a W is singular, for example because the learning rate is far too high. Not collective: on several
    // processes call check_replicas_equal() before, so that all throw the same.
    void check_usable();

    // Throws Error, naming tensor and process, if weights, averages or moments are not bit-equal to root's.
    void check_replicas_equal();

    // Selects the averaged weights (ema) or the raw ones for evaluation and sampling, and computes
    // the values derived from them: W^-1, log|det W| and folded weights.
    void use_ema(bool ema) { derive(ema ? weights_.ema : weights_.params); }
    const FlowBuffers& buffers() const { return gradient_pass_.buffers(); }
    RunnableModel runnable() { return {context_, glow_, gradient_pass_.buffers()}; }

  private:
    // Returns the number of images of all processes. Throws if a W is unusable and that must be known before
    // backward.
    double begin_step(const Batch& batch, const Limits& limits);
    std::vector<MemoryPolicy> policies_to_try() const;
    StepResult summarize(const GradientPass::Result& pass, double N, const MemoryPolicy& policy) const;
    // A W is singular or its condition number, the largest of all processes, above the limit.
    StepFailure mixing_failure(double condition, double largest_condition);
    // Throws mixing_failure() on all processes, after comparing their weights. Collective.
    [[noreturn]] void fail_mixings(double largest_condition);
    // Throws if the step failed, so that its update is not applied (fused updates already are).
    void check_step(const Batch& batch, const StepResult& result, const Limits& limits);
    // Computes the values derived from these weights. Not collective: throws StepFailure on this process if a
    // W is singular or a value is not finite.
    void derive(float* values);
    // For diagnosis of a step on this batch, whose arrays must outlive the result.
    FailureContext failure_context(const Batch& batch = {});
    // Calls f(tree, values) for the weights, EMA and moments; tree is their HDF5 group in a checkpoint.
    template <class F>
    void for_each_tree(F f) const;

    TrainingOptions options_;
    Memory& memory_;
    Context context_;
    Glow glow_;
    DerivedWeights derived_;
    Weights weights_;
    GradientPass gradient_pass_;
    std::unique_ptr<Update> update_;
    std::optional<Auditor> auditor_;
    double* checksums_;                     // [tensors], with several processes
    MemoryPolicy policy_, initial_policy_;  // the current policy, and that at construction
    double drift_tolerance_;
};

}  // namespace glow

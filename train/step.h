// One training step: the page to read first is step.cpp.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/optimizer.h"
#include "layers/derived_weights.h"
#include "layers/glow.h"
#include "runtime/context.h"
#include "runtime/memory.h"
#include "train/audit.h"
#include "inference/model_file.h"
#include "train/diagnosis.h"
#include "train/gradient_pass.h"
#include "inference/inference.h"
#include "train/memory_plan.h"
#include "train/options.h"
#include "train/recovery.h"
#include "train/update.h"

namespace glow {

struct StepResult {
    double bits_per_dim = 0;         // mean over the batch, before the update
    double loss = 0;                 // bits/dim + weight_y * bits_y
    double bits_y = 0, error_y = 0;  // means of the classifier's cross-entropy in bits and of its errors
    double grad_norm = 0;            // global L2, before clipping
    double drift = 0;                // largest |rebuilt x - x| over images and pixels
    double max_condition = 0;        // of the channel mixings W used by this step
    MemoryPolicy policy;             // the one that the step ended with
    bool redone = false;             // drift made the step start over with a safer policy
};

// A model in training: its weights, moments and averages, and the buffers of a step, each from the arena of its
// category.
class Trainer {
  public:
    // options.init_batch must be the number of images itself, no longer 0. count_only: nothing runs, memory is counted.
    // updates: false for gradients alone, without moments, averages and update: step() then changes no weight and
    // leaves its gradient in gradients().
    Trainer(const TrainingOptions& options, const Backend& backend, Memory& memory, bool count_only = false,
            bool updates = true);

    Glow& glow() { return glow_; }
    const Weights& weights() const { return weights_; }
    const float* gradients() const { return update_->gradients(); }  // nullptr where updates are fused
    const MemoryPolicy& policy() const { return policy_; }
    const Context& context() const { return context_; }

    // Of several processes each calls what follows with its share of the images; the results are the same on all.
    // Errors that are thrown on one of them alone should end them all.

    // Initial weights from the seed, actnorms from the data (spec section 1), then restart(). At most
    // options.init_batch images, over all processes.
    void initialize(const Batch& init_images);
    // EMA = raw weights, moments = 0: after the raw weights were set from outside.
    void restart();
    // To be called after weights() were written from outside in any other way.
    void weights_changed() { derived_.invalidate(); }
    // The first process's weights, averages and moments to all.
    void broadcast_weights();

    // One step: gradient of the mean bits/dim over the batch of all processes, then the update. Throws StepFailure, the
    // same on all processes, and leaves the weights as they are (but where updates are fused), where anything is not
    // finite, a condition number is above its limit, or the loss of the batch and of half of its images is. With
    // fused updates drift is a DriftError.
    StepResult step(const Batch& batch, const OptimizerStep& step, const Limits& limits = {});

    // The gradients of this policy against those of exact states, on the first few images of a batch of this process
    // alone. Changes nothing but buffers. Only with options.audit_every.
    Audit audit(const Batch& batch);

    // Throws StepFailure where the weights are such that no checkpoint of them could be read again: not finite or a
    // singular W, after an update with a huge learning rate.
    void check_usable();

    // Throws Error, naming the tensor and the process, where weights, averages or moments of a process are not
    // bit-equal to the first one's.
    void check_equal();

    // Binds the raw or the averaged weights for evaluate() and sample(), and derives from them.
    void use(bool ema) { derive(ema ? weights_.ema : weights_.params); }
    const FlowBuffers& buffers() const { return gradient_.buffers(); }

  private:
    std::vector<MemoryPolicy> policies_to_try() const;
    void summarize(const StepSums& sums, double N, StepResult& result) const;
    // In recovery.cpp. Returns the largest condition number.
    double check_mixings(double largest_condition);
    // Throws where the step must not change the weights (or, with fused updates, has spoiled them).
    void check_step(const Batch& batch, const StepResult& result, const Limits& limits);
    void derive(float* values);
    // For Troubles. The batch is the step's, whose arrays must outlive it.
    FailureContext failure_context(const Batch& batch = {});
    // Every array of the size of the parameters, with the name of its tree in a checkpoint.
    template <class F>
    void for_each_tree(F f) const;

    TrainingOptions options_;
    Memory& memory_;
    Context context_;
    Glow glow_;
    DerivedWeights derived_;
    Weights weights_;
    GradientPass gradient_;
    std::unique_ptr<Update> update_;
    std::optional<Auditor> auditor_;
    double* checksums_;                     // [tensors], on several processes
    MemoryPolicy policy_, planned_policy_;  // the second what the run began with
    double drift_tolerance_;
};

}  // namespace glow

// One training step: the page to read first is step.cpp.
#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "kernels/dequantise.h"
#include "kernels/error.h"
#include "kernels/optimiser.h"
#include "kernels/step_sums.h"
#include "layers/glow.h"
#include "runtime/context.h"
#include "runtime/memory.h"
#include "runtime/recording.h"
#include "train/audit.h"
#include "train/checkpoint.h"
#include "train/course.h"
#include "train/diagnosis.h"
#include "train/fused_update.h"
#include "train/gradient_sum.h"
#include "train/inference.h"
#include "train/options.h"
#include "train/staged_batch.h"

namespace glow {

struct StepResult {
    double bits_per_dim = 0;         // mean over the batch, before the update
    double loss = 0;                 // bits/dim + weight_y * bits_y
    double bits_y = 0, error_y = 0;  // means of the classifier's cross-entropy in bits and of its errors
    double grad_norm = 0;            // global L2, before clipping
    double drift = 0;                // largest |rebuilt x - x| over images and pixels
    double max_condition = 0;        // of the channel mixings W used by this step
    Keep keep;                       // what it took: more than was asked for
    bool redone = false;             // where drift made it redo the step
};

// Drift with fused updates: a step that cannot be redone has changed the weights, which must be read again
// from a checkpoint. The trainer keeps more states from then on.
struct LostStep : Error {
    using Error::Error;
};

// A model in training: its weights, moments and averages, and the buffers of a step, each from the arena of
// its category.
class Trainer {
  public:
    // options.init_batch must be the number of images itself, no longer 0. dry: nothing runs, memory is
    // counted. updates: false for gradients alone, without moments, averages and update: step() then changes
    // no weight and leaves its gradient in gradients().
    Trainer(const TrainingOptions& options, const Backend& backend, Memory& memory, bool dry = false,
            bool updates = true);

    Glow& glow() { return glow_; }
    const Weights& weights() const { return weights_; }
    const float* gradients() const { return gradients_; }  // nullptr where updates are fused
    const Keep& keep() const { return keep_; }
    const Context& context() const { return context_; }

    // Of several processes each calls what follows with its share of the images; what comes out is the same
    // on all. Errors that are thrown on one of them alone should end them all.

    // Initial weights from the seed, actnorms from the data (spec section 1), then restart(). At most
    // options.init_batch images, over all processes.
    void initialise(const Batch& init_images);
    // EMA = raw weights, moments = 0: after the raw weights were set from outside.
    void restart();
    // To be called after weights() were written from outside in any other way.
    void weights_changed() { prepared_for_ = nullptr; }
    // The first process's weights, averages and moments to all.
    void share_weights();

    // One step: gradient of the mean bits/dim over the batch of all processes, then the update. Throws
    // Trouble, the same on all processes, and leaves the weights as they are (but where updates are fused),
    // where anything is not finite, a condition number is above its limit, or the loss of the batch and of
    // half of its images is. With fused updates drift is a LostStep.
    // next: gives the images of the step to follow, so that a GPU gets them while it works; called once on a
    // GPU, never on the CPU. They, and `batch`, must stay valid until the end of their steps.
    StepResult step(const Batch& batch, const OptimiserStep& update, const Limits& limits = {},
                    const std::function<Batch()>& next = nullptr);

    // The gradients of this policy against those of exact states, on the first few images of a batch of this
    // process alone. Changes nothing but buffers. Only with options.audit_every.
    Audit audit(const Batch& batch);

    // Throws Trouble where the weights are such that no checkpoint of them could be read again: not finite or
    // a singular W, after an update with a huge learning rate.
    void check_usable();

    // Throws Error, naming the tensor and the process, where weights, averages or moments of a process are
    // not bit-equal to the first one's.
    void check_equal();

    // Binds and prepares the raw or the averaged weights for evaluate() and sample().
    void use(bool ema) { prepare(ema ? weights_.ema : weights_.params); }
    const FlowBuffers& buffers() const { return buffers_; }

  private:
    struct Forward {
        double sum_log_density = 0;  // nats
        double sum_bits_y = 0, sum_error_y = 0;
        double drift = 0;
        double squares = 0;  // of the gradient
    };
    void lose_to_drift(const Batch& batch, double drift);
    void accumulate_gradient(const Batch& images, double batch_size, const Keep& keep, bool sum_beside);
    Batch on_device(const Batch& images);
    void stage(const Batch& batch, index_t done, const std::function<Batch()>& next);
    void run_forward(const Batch& images, Flow& flow, Kept& kept);
    void run_backward(const Batch& images, double batch_size, Flow& flow, const Kept& kept, bool sum_beside);
    Forward gathered() const;
    Recording& recording_of(index_t images, double batch_size, const Keep& keep, bool sum_beside);
    const Glow::Prepared& prepare(float* values,
                                  double largest_condition = std::numeric_limits<double>::infinity());
    void begin_prepare(float* values);
    void finish_prepare();
    const Glow::Prepared& prepared(double largest_condition);
    Noise training_noise(const Batch& batch) const;
    void load_pixels(const Batch& batch, Flow& flow);
    // For Troubles. The batch is the step's, whose arrays must outlive it.
    Patient patient(const Batch& batch = {});
    // Every array of the size of the parameters, with the name of its tree in a checkpoint.
    template <class F>
    void for_each_tree(F f) const;

    TrainingOptions options_;
    Memory& memory_;
    Context context_;
    Glow glow_;
    index_t micro_batch_;
    Weights weights_;
    float* gradients_ = nullptr;
    std::optional<GradientSum> gradient_sum_;  // one of these two hears of backward
    std::optional<FusedUpdate> fused_;
    std::optional<Auditor> auditor_;
    FlowBuffers buffers_;
    std::optional<StagedBatch> staged_;  // on a GPU
    real* dh_;
    double *difference_, *partial_;
    double* checksums_;  // [tensors], on several processes
    StepSums* sums_;     // of the step at work, in the memory of the device
    // Recorded launches of a micro-batch, by what they depend on.
    struct Recorded {
        index_t images;
        double batch_size;
        Keep keep;
        bool sum_beside;
        std::unique_ptr<Recording> recording;
    };
    std::vector<Recorded> recorded_;
    float* bound_ = nullptr;         // weights that are bound
    float* prepared_for_ = nullptr;  // weights that the derived values belong to
    bool preparing_ = false;         // their second half is not begun yet
    bool looked_at_ = false;         // prepared_ is theirs
    Glow::Prepared prepared_;
    Keep keep_, planned_keep_;  // the second what the run began with
    double drift_tolerance_;
};

// Bytes by category of a run on one of its processes, from a dry run of its parts. `fallback` is what
// `stored` grows to if drift makes a step keep every state.
struct MemoryPlan {
    MemoryBytes bytes{};
    std::size_t fallback_stored = 0;
    Keep keep;                 // what the policy chose
    double network_units = 0;  // what that costs: Glow::network_units()
};
MemoryPlan memory_plan(const TrainingOptions& options, index_t init_images, const Backend& backend,
                       bool updates = true);

}  // namespace glow

// From gradients to new weights: the second half of a training step. Two ways: the whole model after backward, or
// block by block while backward still runs (--fused-update).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/optimizer.h"
#include "kernels/step_sums.h"
#include "layers/glow.h"
#include "runtime/context.h"
#include "runtime/memory.h"
#include "inference/model_file.h"

namespace glow {

class Update : public GradientHook {
  public:
    // Before the backward passes of a step, and again where the step is redone.
    virtual void begin_step(const OptimizerStep& step) = 0;
    // Around every backward, whose hook this is; both calls may be captured in a CUDA graph with it. last: the
    // step's last one, during which gradients may be summed over the processes.
    virtual void begin_backward(bool last) = 0;
    virtual void end_backward(bool last) = 0;
    // After them: everything is summed over the processes. had_images: whether this process ran a backward.
    // Leaves the squared gradient norm in sums->squares (device memory), or for squared_norm().
    virtual void reduce(bool had_images, StepSums* sums) = 0;
    virtual double squared_norm(const StepSums& sums) const { return sums.squares; }
    // Changes the weights, and says whether it did: not where backward did already.
    virtual bool apply(const OptimizerStep& step) = 0;

    // Whether weights change during backward: a step can then neither be redone nor refused.
    virtual bool during_backward() const { return false; }
    virtual bool graph_capturable() const { return true; }
    // The gradient of the whole model; nullptr where it is never there as a whole.
    virtual float* gradients() const { return nullptr; }
    // The first block in the order of backward whose gradient is not finite, where it is known; else empty.
    virtual std::string bad_block() const { return ""; }
};

// Keeps the gradient of the whole model. Buckets of it, counted from the end and equal on all processes, are summed
// over the processes as soon as the last backward has completed them, concurrently with the rest of it.
class WholeModelUpdate : public Update {
  public:
    // Takes the gradients and the communicator's scratch from their arenas. place: where the run's arrays lie, also
    // where the context only counts. updates: false for gradients alone. partial: square_scratch() doubles.
    WholeModelUpdate(const Context& context, const Exec& exec, index_t size, const Weights& weights,
                     Memory& memory, bool updates, double* partial);

    void begin_step(const OptimizerStep& step) override;
    void begin_backward(bool last) override { summing_ = last && overlaps(); }
    ParameterGradients begin(const ParameterBlock&) override { return {gradients_, 0}; }
    void complete(const ParameterBlock& block) override;
    void end_backward(bool) override {
        if (summing_) finish_all_reduces();
    }
    void reduce(bool had_images, StepSums* sums) override;
    bool apply(const OptimizerStep& step) override;
    float* gradients() const override { return gradients_; }

  private:
    bool overlaps() const;
    void all_reduce_async(index_t first);
    void finish_all_reduces();

    const Context& context_;
    Weights weights_;
    index_t size_;
    bool updates_;
    double* partial_;
    float* gradients_;
    void* scratch_;               // of the communicator
    index_t complete_, started_;  // where the complete part begins, and the part whose sum was started
    bool summing_ = false;
};

// --fused-update: every block is updated as soon as backward has completed its gradient, whose memory then serves the
// next block: gradients take the memory of the largest block. On several processes the sum of a block's gradient runs
// concurrently with backward of the next block, in two such buffers. A block whose gradient is not finite is left as
// it is; all others are updated even where the step turns out bad.
class FusedUpdate : public Update {
  public:
    // Takes its buffers from the arenas of gradients, state and communication.
    FusedUpdate(const Context& context, const Exec& exec, Glow& glow, const Weights& weights,
                Memory& memory);

    void begin_step(const OptimizerStep& step) override;
    void begin_backward(bool) override {}
    ParameterGradients begin(const ParameterBlock& block) override;
    void complete(const ParameterBlock& block) override;
    void end_backward(bool) override { finish(); }
    // A process without images contributes zeros and makes the same updates as the others.
    void reduce(bool had_images, StepSums* sums) override;
    double squared_norm(const StepSums&) const override;
    bool apply(const OptimizerStep&) override { return false; }
    bool during_backward() const override { return true; }
    bool graph_capturable() const override { return context_.communicator.graph_capturable(); }
    std::string bad_block() const override;

  private:
    struct Completed {
        ParameterBlock block;
        float* gradient;
        index_t number;
    };
    void finish();
    void update(const Completed& completed);
    std::vector<double> squares_of_blocks() const;

    const Context& context_;
    Glow& glow_;
    Weights weights_;
    std::vector<float*> buffers_;  // [size of the largest block] each
    void* scratch_;                // of the communicator
    OptimizerStep* step_;          // these three in the device memory
    double* squares_;              // [blocks]
    double* partial_;
    index_t number_ = 0;                // of the block at work
    std::optional<Completed> summing_;  // the one before, being summed over the processes
};

}  // namespace glow

// From gradients to new weights: the second half of a training step. Either the whole model after backward,
// or block by block during backward (--fused-update).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/optimizer.h"
#include "kernels/step_sums.h"
#include "layers/glow.h"
#include "layers/weights.h"
#include "runtime/context.h"
#include "runtime/memory.h"

namespace glow {

class Update : public GradientHook {
  public:
    // Called before the backward passes of a step, and again if the step is repeated.
    virtual void begin_step(const OptimizerStep& step) = 0;
    // Called before and after every backward of a step, and captured in its CUDA graph. Backward calls
    // begin() and complete() of GradientHook in between. last: the step's last backward, during which
    // gradients may be all-reduced.
    virtual void begin_backward(bool last) = 0;
    virtual void end_backward(bool last) = 0;
    // Called after the last backward. All-reduces the gradients that backward has not, and computes the
    // squared gradient norm for squared_norm(): of the whole model in sums->squares (device memory), or of
    // each block with fused updates. had_images: this process ran a backward.
    virtual void reduce(bool had_images, StepSums* sums) = 0;
    virtual double squared_norm(const StepSums& sums) const { return sums.squares; }
    // Changes the weights, unless backward already did.
    virtual void apply(const OptimizerStep& step) = 0;

    // True if weights change during backward: such a step can be neither repeated nor rejected.
    virtual bool during_backward() const { return false; }
    virtual bool graph_capturable() const { return true; }
    // The gradient of the whole model; nullptr if it never exists as a whole.
    virtual float* gradients() const { return nullptr; }
    // The first block in backward order with a non-finite gradient, if known; otherwise empty.
    virtual std::string bad_block() const { return ""; }
};

// Keeps the gradient of the whole model. Buckets, counted from the end and equal on all processes, are
// all-reduced as soon as the last backward completes them, concurrently with the rest of backward.
class WholeModelUpdate : public Update {
  public:
    // Allocates gradients and the communicator's scratch from their arenas. exec: the device of the run's
    // arrays, even if the context only counts. Without moments in `weights`, apply() changes nothing.
    // partial: square_scratch() doubles.
    WholeModelUpdate(const Context& context, const Exec& exec, index_t size, const Weights& weights,
                     Memory& memory, double* partial);
    // After an exception during backward, waits for the sums in flight, which use these arrays.
    ~WholeModelUpdate() override;

    void begin_step(const OptimizerStep& step) override;
    void begin_backward(bool last) override { summing_ = last && overlaps(); }
    ParameterGradients begin(const ParameterBlock&) override { return {gradients_, 0}; }
    void complete(const ParameterBlock& block) override;
    void end_backward(bool) override {
        if (summing_) finish_all_reduces();
    }
    void reduce(bool had_images, StepSums* sums) override;
    void apply(const OptimizerStep& step) override;
    float* gradients() const override { return gradients_; }

  private:
    bool overlaps() const;
    void all_reduce_async(index_t first);
    void finish_all_reduces();

    const Context& context_;
    Weights weights_;
    index_t size_;
    double* partial_;
    float* gradients_;
    void* scratch_;     // of the communicator
    index_t complete_;  // gradients from here on are final
    index_t started_;   // gradients from here on are being summed
    bool summing_ = false;
};

// --fused-update: each block is updated as soon as backward completes its gradient, whose memory is then
// reused: gradients need the memory of the largest block. With several processes, a block's all-reduce runs
// concurrently with backward of the next block, using two buffers. A block with a non-finite gradient is not
// updated; all others are, even if the step fails.
class FusedUpdate : public Update {
  public:
    // Allocates buffers from the arenas of gradients, state and communication.
    FusedUpdate(const Context& context, const Exec& exec, Glow& glow, const Weights& weights, Memory& memory);
    ~FusedUpdate() override;  // as ~WholeModelUpdate()

    void begin_step(const OptimizerStep& step) override;
    void begin_backward(bool) override {}
    ParameterGradients begin(const ParameterBlock& block) override;
    void complete(const ParameterBlock& block) override;
    void end_backward(bool) override { finish(); }
    // A process without images contributes zeros and makes the same updates.
    void reduce(bool had_images, StepSums* sums) override;
    double squared_norm(const StepSums&) const override;
    void apply(const OptimizerStep&) override {}
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
    OptimizerStep* step_;          // these three are in device memory
    double* squares_;              // [blocks]
    double* partial_;
    index_t number_ = 0;                // of the current block
    std::optional<Completed> summing_;  // the previous block, being all-reduced
};

}  // namespace glow

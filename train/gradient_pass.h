// Forward and backward of a batch in micro-batches: the first half of a training step.
#pragma once

#include <memory>
#include <vector>

#include "data/batch.h"
#include "inference/flow_buffers.h"
#include "kernels/dequantize.h"
#include "kernels/step_sums.h"
#include "layers/derived_weights.h"
#include "layers/glow.h"
#include "runtime/context.h"
#include "runtime/cuda_graph.h"
#include "train/options.h"
#include "train/update.h"

namespace glow {

class GradientPass {
  public:
    // Allocates the buffers of a step from the arena of states. micro_batch: images per pass; init_images:
    // images of the initialization. device: where the buffers will be used, even if the context only counts.
    GradientPass(const TrainingOptions& options, const Context& context, Device device, Glow& glow,
                 DerivedWeights& derived, Memory& memory, index_t micro_batch, index_t init_images);

    struct Result {
        StepSums sums;
        double max_condition;  // the largest condition number of a W; infinity if one is singular
    };
    // Accumulates the gradient of the mean of bits/dim + weight_y * bits_y over batch_size images, of which
    // `batch` belong to this process, into `update`. Returns sums and maximum over all processes.
    Result run(const Batch& batch, double batch_size, const MemoryPolicy& policy, const OptimizerStep& step,
               Update& update);

    // Dequantizes at most micro_batch images into the flow's buffers, ready for forward.
    Flow load(const Batch& images);
    // The same for at most init_images images; also initializes the dequantizer, if any, from them.
    Flow initialize(const Batch& images);

    index_t micro_batch() const { return micro_batch_; }
    const FlowBuffers& buffers() const { return buffers_; }
    real* dh() const { return dh_; }
    double* partial() const { return partial_; }  // scratch of reductions, at least square_scratch() doubles

  private:
    struct Graphs {  // graphs of a micro-batch, with the values that their launches depend on
        index_t images;
        double batch_size;
        MemoryPolicy policy;
        bool last;
        std::unique_ptr<CudaGraph> transform, backward;
    };
    void accumulate(const Batch& images, double batch_size, const MemoryPolicy& policy, Update& update,
                    bool last);
    Graphs& graphs_of(index_t images, double batch_size, const MemoryPolicy& policy, bool last);
    void backward_noise(const Batch& images, Flow& flow, Gradient& gradient, Update& update);
    Pixels pixels(const Batch& images) const;
    Noise noise(const Batch& images) const;
    Glow::VariationalBuffers noise_buffers() const { return {buffers_.minus_log_q, logits_}; }
    Result reduce_sums(const Update& update);

    const TrainingOptions& options_;
    const Context& context_;
    Glow& glow_;
    DerivedWeights& derived_;
    Arena& stored_;
    index_t micro_batch_;
    FlowBuffers buffers_;
    real* dh_;
    state_t* logits_ = nullptr;  // [images, D], with a dequantizer
    double *difference_, *partial_;
    StepSums* sums_;  // of the current step, in device memory
    std::vector<Graphs> graphs_;
};

}  // namespace glow

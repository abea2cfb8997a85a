// Forward and backward of a batch, micro-batch by micro-batch: the first half of a training step.
#pragma once

#include <memory>
#include <vector>

#include "kernels/step_sums.h"
#include "layers/derived_weights.h"
#include "runtime/cuda_graph.h"
#include "inference/inference.h"
#include "train/options.h"
#include "train/update.h"

namespace glow {

class GradientPass {
  public:
    // Takes the buffers of a step from the arena of states. micro_batch: images that a pass takes at once;
    // init_images: that the initialization takes at once. device: what the buffers are for, also where the context
    // only counts.
    GradientPass(const TrainingOptions& options, const Context& context, Device device, Glow& glow,
                 DerivedWeights& derived, Memory& memory, index_t micro_batch, index_t init_images);

    // The gradient of the mean of bits/dim + weight_y * bits_y over batch_size images, of which `batch` are this
    // process's, goes to `update`; the sums over all processes are returned.
    StepSums run(const Batch& batch, double batch_size, const MemoryPolicy& policy, const OptimizerStep& step,
                 Update& update);

    // Dequantized images in the flow's buffers, ready for forward. At most micro_batch (before the first step:
    // init_images) of them.
    Flow load(const Batch& images);
    // After the initialization: micro-batches only.
    void end_initialization() { buffers_.capacity = micro_batch_; }

    index_t micro_batch() const { return micro_batch_; }
    const FlowBuffers& buffers() const { return buffers_; }
    real* dh() const { return dh_; }
    double* partial() const { return partial_; }  // scratch of sums, at least square_scratch() doubles

  private:
    struct Graphs {  // of a micro-batch, by what its launches depend on
        index_t images;
        double batch_size;
        MemoryPolicy policy;
        bool last;
        std::unique_ptr<CudaGraph> transform, backward;
    };
    void accumulate(const Batch& images, double batch_size, const MemoryPolicy& policy, Update& update,
                    bool last);
    Graphs& graphs_of(index_t images, double batch_size, const MemoryPolicy& policy, bool last);
    void dequantize_into(const Batch& images, Flow& flow);
    Noise noise(const Batch& images) const;
    StepSums gather(const Update& update) const;

    const TrainingOptions& options_;
    const Context& context_;
    Glow& glow_;
    DerivedWeights& derived_;
    Arena& stored_;
    index_t micro_batch_;
    FlowBuffers buffers_;
    real* dh_;
    double *difference_, *partial_;
    StepSums* sums_;  // of the step at work, in the memory of the device
    std::vector<Graphs> graphs_;
};

}  // namespace glow

#include "train/gradient_pass.h"

#include <algorithm>
#include <optional>

#include "kernels/elementwise.h"
#include "kernels/flat_sums.h"
#include "kernels/math.h"
#include "kernels/reduce.h"
#include "runtime/device.h"

namespace glow {

GradientPass::GradientPass(const TrainingOptions& options, const Context& context, Device device, Glow& glow,
                           DerivedWeights& derived, Memory& memory, index_t micro_batch, index_t init_images)
    : options_(options),
      context_(context),
      glow_(glow),
      derived_(derived),
      stored_(memory[Category::stored]),
      micro_batch_(micro_batch) {
    Arena& state = memory[Category::state];
    // Initialization passes all its images through the network at once, before the first step.
    const index_t images = std::max(micro_batch, init_images);
    buffers_ = FlowBuffers::take(state, images, options.model, device);
    buffers_.capacity = micro_batch;  // of evaluations too: initialize() alone uses the whole buffers
    dh_ = state.take<real>(micro_batch * options.model.dimensions());
    if (options.model.dequant_depth > 0) logits_ = state.take<state_t>(images * options.model.dimensions());
    difference_ = state.take<double>(images);
    partial_ = state.take<double>(std::max(group_scratch(images), square_scratch()));
    sums_ = state.take<StepSums>(1);
}

GradientPass::Result GradientPass::run(const Batch& batch, double batch_size, const MemoryPolicy& policy,
                                       const OptimizerStep& step, Update& update) {
    update.begin_step(step);
    fill(context_.exec, kStepSums, 0.0, &sums_->log_density);
    for (index_t first = 0; first < batch.N; first += micro_batch_) {
        const index_t count = std::min(micro_batch_, batch.N - first);
        accumulate(batch.slice(first, count, glow_.config().dimensions()), batch_size, policy, update,
                   first + count == batch.N);
    }
    derived_.wait(context_);
    update.reduce(batch.N > 0, sums_);
    return reduce_sums(update);
}

// Accumulates one micro-batch: the gradient of the sum over its images of (bits/dim + weight_y bits_y) /
// batch_size, and sums_. On a GPU the launches are captured and replayed; this works because the images are
// in fixed buffers, so the launches depend only on the key of graphs_of().
void GradientPass::accumulate(const Batch& images, double batch_size, const MemoryPolicy& policy,
                              Update& update, bool last) {
    const Exec& exec = context_.exec;
    const bool graph = options_.graph && update.graph_capturable();
    const Batch batch = buffers_.to_device(exec, images, glow_.config().dimensions());
    Graphs& graphs = graphs_of(images.N, batch_size, policy, last);
    Flow flow = buffers_.flow(batch.N, batch.labels);
    std::optional<SavedActivations> saved;

    CudaGraph::Capture transform(*graphs.transform, exec, graph);
    if (transform.issues()) {
        glow_.dequantize(context_, pixels(batch), noise(batch), flow, noise_buffers());
        glow_.transform(context_, flow, &saved.emplace(stored_, policy));
    }
    transform.launch();

    derived_.wait(context_);  // W^-1 and log|det W|, computed concurrently with transform() on a GPU

    CudaGraph::Capture backward(*graphs.backward, exec, graph);
    if (backward.issues()) {
        glow_.add_logdets(context_, flow);
        Gradient gradient = mean_loss_gradient(glow_.config(), batch_size, dh_);
        update.begin_backward(last);
        glow_.backward(context_, flow, gradient, *saved, update);
        backward_noise(batch, flow, gradient, update);
        add_step_sums(exec, images.N, {flow.logdet, flow.prior, flow.bits_y, flow.error_y, difference_},
                      sums_, partial_);
        update.end_backward(last);
    }
    backward.launch();
}

GradientPass::Graphs& GradientPass::graphs_of(index_t images, double batch_size, const MemoryPolicy& policy,
                                              bool last) {
    auto graphs = std::find_if(graphs_.begin(), graphs_.end(), [&](const Graphs& g) {
        return g.images == images && g.batch_size == batch_size && g.policy == policy && g.last == last;
    });
    if (graphs == graphs_.end())
        graphs = graphs_.insert(graphs, {images, batch_size, policy, last, nullptr, nullptr});
    // Both start again if the step failed between them: backward can be captured only after a transform that
    // was not replayed, which would leave nothing in SavedActivations.
    if (graphs->transform == nullptr || graphs->transform->captured() != graphs->backward->captured()) {
        graphs->transform = std::make_unique<CudaGraph>();
        graphs->backward = std::make_unique<CudaGraph>();
    }
    return *graphs;
}

// Copies the sums to the host, the only time a step waits for its device, and reduces them, the maximum drift
// and the maximum condition over all processes, so that all make the same decisions.
GradientPass::Result GradientPass::reduce_sums(const Update& update) {
    const double condition = derived_.check(context_).usable_condition();
    if (context_.counting()) return {{}, condition};
    StepSums sums;
    download(context_.exec, 1, sums_, &sums);
    double over_processes[] = {sums.log_density, sums.bits_y, sums.error_y};
    context_.communicator.all_reduce_sum(std::ssize(over_processes), over_processes);
    double maxima[] = {sums.drift, condition};
    context_.communicator.all_reduce_max(std::ssize(maxima), maxima);
    return {{over_processes[0], over_processes[1], over_processes[2], maxima[0], update.squared_norm(sums)},
            maxima[1]};
}

// ---- Images ----------------------------------------------------------------------------------------

Flow GradientPass::load(const Batch& images) {
    const Batch batch = buffers_.to_device(context_.exec, images, glow_.config().dimensions());
    Flow flow = buffers_.flow(batch.N, batch.labels);
    glow_.dequantize(context_, pixels(batch), noise(batch), flow, noise_buffers());
    return flow;
}

Flow GradientPass::initialize(const Batch& images) {
    if (!glow_.has_dequantizer()) return load(images);
    const Batch batch = buffers_.to_device(context_.exec, images, glow_.config().dimensions());
    Flow flow = buffers_.flow(batch.N, batch.labels);
    glow_.initialize_dequantizer(context_, pixels(batch), noise(batch), flow, noise_buffers());
    return flow;
}

// Computes the drift of the reconstructed images, and the gradient of the dequantizer if there is one.
void GradientPass::backward_noise(const Batch& images, Flow& flow, Gradient& gradient, Update& update) {
    if (glow_.has_dequantizer())
        glow_.backward_dequantizer(context_, pixels(images), noise(images), flow, logits_, gradient, update,
                                   difference_);
    else
        dequantize_difference(context_.exec, pixels(images), noise(images), flow.h, difference_, partial_);
}

Pixels GradientPass::pixels(const Batch& images) const {
    return {images.N, glow_.config().dimensions(), glow_.config().n_bits, images.pixels};
}

Noise GradientPass::noise(const Batch& images) const {
    return {options_.dequant, options_.seed, Purpose::dequantize, images.numbers};
}

}  // namespace glow

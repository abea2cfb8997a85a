// The multi-level flow (paper figure 2b): per level squeeze, K steps of actnorm-mixing-coupling, split; a
// Gaussian prior at the top.
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "layers/actnorm_mixing.h"
#include "layers/classifier.h"
#include "layers/coupling.h"
#include "layers/dequantizer.h"
#include "layers/memory_policy.h"
#include "layers/prior.h"
#include "layers/split.h"
#include "layers/squeeze.h"

namespace glow::inline GLOW_REAL {

// How the coupling networks are computed; does not change the mathematics.
struct NetworkSettings {
    Precision precision = Precision::fp32;  // of the coupling networks
    index_t tile = 0;                       // images per coupling-network tile; 0: images_per_tile()
    std::vector<Engine> engines = {};       // one per level; empty: matrix products everywhere
    // For GPUs: fold the actnorms of all coupling networks into their convolution weights at once, round the
    // results to the networks' precision and keep them, an extra copy of the model.
    // This saves about 2,000 small kernels per training step.
    bool prefold_weights = false;
};

// A contiguous range of Parameters' flat arrays whose gradients backward completes together: the tensors of
// one step of flow, of a split (step -1), of the top prior and classifier (level L), or of the dequantizer
// (level -1).
struct ParameterBlock {
    index_t level, step;
    index_t offset, count;  // elements of the flat arrays

    // "level0/step3", "level0/split", "prior/top", "dequantizer".
    std::string name(index_t levels) const;
};
// Elements of the largest block.
index_t largest_count(std::span<const ParameterBlock> blocks);

// Called for each parameter block during backward, from the top down. begin(): returns where to accumulate
// the block's gradient; do not overwrite the block's parameter values yet. complete(): the gradient is final,
// and the values may be overwritten.
class GradientHook {
  public:
    virtual ~GradientHook() = default;
    virtual ParameterGradients begin(const ParameterBlock& block) = 0;
    virtual void complete(const ParameterBlock& block) = 0;
};

// Called by forward() with the flow after the dequantizer, if there is one, and after every layer. layer:
// "dequantizer", "level0/step1/mixing" (with its actnorm), "level0/step1/coupling", "level0/split" or
// "prior/top".
class LayerObserver {
  public:
    virtual ~LayerObserver() = default;
    virtual void after(const std::string& layer, const Flow& flow) = 0;
};

class Glow {
  public:
    // Throws InputError for an inconsistent config.
    Glow(const ModelConfig& config, const NetworkSettings& settings);
    Glow(const Glow&) = delete;
    Glow& operator=(const Glow&) = delete;

    const ModelConfig& config() const { return config_; }
    Parameters& parameters() { return parameters_; }
    const Parameters& parameters() const { return parameters_; }

    // Allocates the derived values (W^-1, folded mixings and networks, the mean and log-scale map of the
    // top prior).
    void allocate(Arena& derived);

    // Computes derived values from the parameters. Required before anything else and after every change of
    // the parameters. W^-1 and log|det W| are computed for all steps of a level together. DerivedWeights
    // tracks whether they are current.
    void derive(const Context& context) {
        start_deriving(context);
        finish_deriving(context);
    }
    // The two halves of derive(). A GPU computes W^-1 and log|det W| concurrently with work queued between
    // the two calls. Of this class, only transform() may be called between them.
    void start_deriving(const Context& context);
    void finish_deriving(const Context& context);
    // Result of derive(). Waits for the device.
    struct MixingCheck {
        double max_condition = 0;  // largest condition number of W: norm1(W) norm1(W^-1)
        std::string worst_layer;   // the step with this condition number
        // The first step with a singular W or a non-finite value; empty if there is none.
        std::string bad_layer;

        // max_condition, or infinity if there is a bad layer.
        double usable_condition() const {
            return bad_layer.empty() ? max_condition : std::numeric_limits<double>::infinity();
        }
    };
    MixingCheck check_mixings(const Context& context) const;
    MixingCheck derive_and_check(const Context& context) {
        derive(context);
        return check_mixings(context);
    }
    // Log-determinants shared by all images, in nats per image; valid after derive().
    struct ConstantLogdets {
        double actnorm = 0, mixing = 0;
    };
    ConstantLogdets constant_logdets(const Context& context) const;

    bool has_classifier() const { return classifier_.has_value(); }

    // Sets flow.h to the images with noise, ready for forward. Variational noise requires a dequantizer. It
    // also fills buffers.minus_log_q [N] and sets flow.minus_log_q to point there. It fills buffers.logits
    // [N, D], which backward_dequantizer() reads, unless that is nullptr.
    struct VariationalBuffers {
        double* minus_log_q = nullptr;
        state_t* logits = nullptr;
    };
    void dequantize(const Context& context, const Pixels& pixels, const Noise& noise, Flow& flow,
                    const VariationalBuffers& buffers);
    bool has_dequantizer() const { return dequantizer_.has_value(); }
    // Initializes the dequantizer from these images, then runs dequantize().
    void initialize_dequantizer(const Context& context, const Pixels& pixels, const Noise& noise, Flow& flow,
                                const VariationalBuffers& buffers);

    // The following functions convert flow.h [N, H, W, C] <-> latents in place. Conditional models read
    // flow.labels. Latents are stored deepest first: the top z [N, H_t, W_t, C_t], then b of level L-2, ...,
    // b of level 0.

    // Initializes every actnorm from flow.N images, then runs forward().
    void initialize(const Context& context, Flow& flow);
    // images -> latents. Sets (=) logdet and prior, so that log p = -D ln(n_bins) + logdet + prior; with a
    // classifier also bits_y and error_y.
    void forward(const Context& context, Flow& flow, SavedActivations* saved = nullptr) {
        transform(context, flow, saved);
        add_logdets(context, flow);
    }
    // The same, calling the observer after every layer. flow.logdet is then up to date, on a GPU too.
    void forward(const Context& context, Flow& flow, LayerObserver& observer);
    // The layers that an observer sees, in their order.
    std::vector<std::string> observed_layers() const;
    // The two halves of forward(). On a GPU, transform() does not need log|det W|; add_logdets() adds the
    // log-determinants of all mixings, including the dequantizer's. On a CPU transform() does all the work.
    void transform(const Context& context, Flow& flow, SavedActivations* saved = nullptr);
    void add_logdets(const Context& context, Flow& flow);
    // images -> standard normal eps in place of the latents, and back.
    void encode(const Context& context, Flow& flow);
    void decode(const Context& context, Flow& flow);
    // latents -> reconstructed images; gradient.dh = dL/dx (previous contents are ignored, unless
    // gradient.from_eps); gradient.parameters +=. `saved` comes from the matching forward.
    void backward(const Context& context, Flow& flow, Gradient& gradient, const SavedActivations& saved);
    // The same, with each block's gradient accumulated where hook.begin() returns.
    void backward(const Context& context, Flow& flow, Gradient& gradient, const SavedActivations& saved,
                  GradientHook& hook);
    // Backward of dequantize() with variational noise, after backward(): flow.h holds the reconstructed
    // images. Sets difference [N], the largest error of the reconstructed image or eps. Overwrites flow.h and
    // gradient.dh.
    void backward_dequantizer(const Context& context, const Pixels& pixels, const Noise& noise, Flow& flow,
                              const state_t* logits, Gradient& gradient, GradientHook& hook,
                              double* difference);
    // All blocks, in the order of backward; they cover the flat arrays from end to start. flow_blocks()
    // excludes the dequantizer, the last block.
    const std::vector<ParameterBlock>& blocks() const { return blocks_; }
    std::span<const ParameterBlock> flow_blocks() const {
        return {blocks_.data(), blocks_.size() - (dequantizer_ ? 1 : 0)};
    }
    // Backward of one of flow_blocks().
    void backward(const Context& context, Flow& flow, Gradient& gradient, const SavedActivations& saved,
                  const ParameterBlock& block);

    // Policy "auto": saves as many maps of N images as fit in `bytes`, deepest level first. A byte saved
    // in the deepest level avoids the most recomputation: its feature maps have the most channels, so the
    // network does the most work per pixel, while the saved maps per pixel are about the same size
    // everywhere.
    MemoryPolicy policy_within(index_t N, std::size_t bytes) const;
    // Network work of forward and backward under a policy, in units of one forward: 3 if all maps are saved,
    // 4 if every network is recomputed.
    double network_units(const MemoryPolicy& policy) const;

    // The layers, for code that iterates over them itself.
    struct Step {
        ActnormMixing mixing;
        Coupling coupling;
        std::string name;  // "level0/step3"
    };
    struct Level {
        Shape shape;
        Squeeze squeeze;
        std::vector<std::unique_ptr<Step>> steps;
        std::vector<ActnormMixing*> mixings;  // one per step
        std::optional<Split> split;           // absent in the last level
    };
    std::vector<Level>& levels() { return levels_; }
    // In the order of forward, for each level: squeeze(level); step(level, step, l, k) for each step;
    // split(level), except in the last level.
    template <class OnSqueeze, class OnStep, class OnSplit>
    void for_each_layer(OnSqueeze squeeze, OnStep step, OnSplit split) {
        for (index_t l = 0; l < std::ssize(levels_); ++l) {
            Level& level = levels_[l];
            squeeze(level);
            for (index_t k = 0; k < std::ssize(level.steps); ++k) step(level, *level.steps[k], l, k);
            if (level.split) split(level);
        }
    }
    // The opposite order.
    template <class OnSplit, class OnStep, class OnSqueeze>
    void for_each_layer_backwards(OnSplit split, OnStep step, OnSqueeze squeeze) {
        for (index_t l = std::ssize(levels_); l-- > 0;) {
            Level& level = levels_[l];
            if (level.split) split(level);
            for (index_t k = std::ssize(level.steps); k-- > 0;) step(level, *level.steps[k], l, k);
            squeeze(level);
        }
    }
    TopPrior& top() { return *top_; }

  private:
    static void start_logdet(const Context& context, Flow& flow);
    void transform_levels(const Context& context, Flow& flow, SavedActivations* saved, bool to_eps,
                          LayerObserver* observer = nullptr);
    const SavedActivations::Step* save(const Context& context, SavedActivations* saved, index_t l, index_t k,
                                       const Flow& flow);
    void allocate_folded(Arena& derived);
    // Layer of condition number i: "level0/step3" or "dequantizer/step0".
    std::string conditioned_layer(index_t i) const;
    index_t mixing_steps() const { return config_.levels * config_.depth + config_.dequant_depth; }

    ModelConfig config_;
    Precision precision_;
    bool prefold_weights_;
    Parameters parameters_;
    std::optional<Dequantizer> dequantizer_;
    std::vector<Level> levels_;
    std::optional<TopPrior> top_;
    FoldedWeights folded_;                  // of all coupling networks, if prefold_weights_
    std::optional<Classifier> classifier_;  // --weight-y
    std::vector<ParameterBlock> blocks_;    // from the top down
    // Condition numbers of W: [L * K], then the dequantizer's; in device memory.
    double* conditions_ = nullptr;
};

}  // namespace glow::inline GLOW_REAL

// The whole multi-level flow (paper figure 2b): per level squeeze, K steps of actnorm-mixing-coupling, split;
// a Gaussian prior at the top.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "layers/actnorm_mixing.h"
#include "layers/classifier.h"
#include "layers/coupling.h"
#include "layers/memory_policy.h"
#include "layers/prior.h"
#include "layers/split.h"
#include "layers/squeeze.h"

namespace glow::inline GLOW_REAL {

// How the same mathematics is carried out.
struct Execution {
    Precision precision = Precision::fp32;  // of the coupling networks
    index_t tile = 0;  // images per tile of the coupling networks; 0: the rule of images_per_tile()
    std::vector<Engine> engines = {};  // of each level's networks; empty: the rule, matrix products
    // Keep the networks' weights as they are multiplied, folded and rounded, for all steps at once: a copy of
    // the model, against two thousand small kernels a step. For GPUs.
    bool fold_ahead = false;
};

// A contiguous part of the flat arrays of Parameters, as backward completes it: the tensors of a step of flow, of a
// split (step -1), or, of level L, all that stand at the top.
struct ParameterBlock {
    index_t level, step;
    index_t offset, count;  // elements of the flat arrays

    // "level0/step3", "level0/split", "prior/top".
    std::string name(index_t levels) const;
};

// Called for each parameter block during backward, from the top down. begin(): where the block's gradient goes;
// accumulation starts, the values are still read. complete(): the gradient is final and the values are no longer
// read in this backward.
class GradientHook {
  public:
    virtual ~GradientHook() = default;
    virtual ParameterGradients begin(const ParameterBlock& block) = 0;
    virtual void complete(const ParameterBlock& block) = 0;
};

class Glow {
  public:
    // Throws InputError for a config that does not hold together.
    Glow(const ModelConfig& config, const Execution& execution);
    Glow(const Glow&) = delete;
    Glow& operator=(const Glow&) = delete;

    const ModelConfig& config() const { return config_; }
    Parameters& parameters() { return parameters_; }
    const Parameters& parameters() const { return parameters_; }

    // Takes the memory of the derived values (W^-1, folded mixings, the prior's map).
    void allocate(Arena& derived);

    // Derived values from the parameters; before anything runs and after every change of the parameters. W^-1
    // and log|det W| of all steps of a level are made together. DerivedWeights keeps track of what is current.
    void derive(const Context& context) {
        start_deriving(context);
        finish_deriving(context);
    }
    // Its two halves: a GPU computes W^-1 and log|det W| concurrently with what is queued between them, which may
    // be transform() and nothing else of this class.
    void start_deriving(const Context& context);
    void finish_deriving(const Context& context);
    // What derive() found. Waits for the device.
    struct Conditioning {
        double max_condition = 0;  // of W over all steps: norm1(W) norm1(W^-1)
        index_t worst_step = 0;    // that has it, of L * K
        // The first step with a singular W or a value that is not finite; empty: all is well.
        std::string bad_layer;
    };
    Conditioning conditioning(const Context& context) const;
    Conditioning derive_and_check(const Context& context) {
        derive(context);
        return conditioning(context);
    }
    // The log-determinants that are the same for every image, nats per image; after derive().
    struct ConstantLogdets {
        double actnorm = 0, mixing = 0;
    };
    ConstantLogdets constant_logdets(const Context& context) const;

    bool has_classifier() const { return classifier_.has_value(); }

    // All of these work on flow.h [N, H, W, C] <-> latents, in place; conditional models read flow.labels.
    // Latents lie deepest first: the top z [N, H_t, W_t, C_t], then b of level L-2, ..., b of level 0.
    // Data-dependent initialization of every actnorm from flow.N images, then as forward.
    void initialize(const Context& context, Flow& flow);
    // images -> latents; logdet and prior are set (=), so that log p = -D ln(n_bins) + logdet + prior; bits_y
    // and error_y too where there is a classifier.
    void forward(const Context& context, Flow& flow, SavedActivations* saved = nullptr) {
        transform(context, flow, saved);
        add_logdets(context, flow);
    }
    // Its two halves. On a GPU add_logdets() adds those of all mixings, of which transform() does not need log|det W|;
    // on a CPU the first does it all.
    void transform(const Context& context, Flow& flow, SavedActivations* saved = nullptr);
    void add_logdets(const Context& context, Flow& flow);
    // latents -> images.
    void inverse(const Context& context, Flow& flow);
    // images -> standard normal eps in the latents' places, and back.
    void encode(const Context& context, Flow& flow);
    void decode(const Context& context, Flow& flow);
    // latents -> rebuilt images, gradient.dh = dL/dx (its contents before do not matter), gradient.parameters +=.
    // saved: of the forward that made the latents.
    void backward(const Context& context, Flow& flow, Gradient& gradient, const SavedActivations& saved);
    // The same with each block's gradient where the hook says.
    void backward(const Context& context, Flow& flow, Gradient& gradient, const SavedActivations& saved,
                  GradientHook& hook);
    // One block of it. All blocks, in the order of backward; they lie one before the other, from the end of the
    // flat arrays to their beginning.
    const std::vector<ParameterBlock>& blocks() const { return blocks_; }
    void backward(const Context& context, Flow& flow, Gradient& gradient, const SavedActivations& saved,
                  const ParameterBlock& block);

    // The policy auto: keeps maps of N images for at most `bytes`, where a byte saves most recomputation.
    // That is in the deepest level, then upward: the work of a pixel's network grows with its channels, its
    // maps hardly do.
    MemoryPolicy policy_within(index_t N, std::size_t bytes) const;
    // Work of the networks in forward and backward under a policy, in units of their forward: 3 where all
    // maps are kept, 4 where every network is recomputed.
    double network_units(const MemoryPolicy& policy) const;

    // One step of flow and one level, for tests and tools that walk the flow by hand.
    struct Step {
        ActnormMixing mixing;
        Coupling coupling;
        std::string name;  // "level0/step3"
    };
    struct Level {
        Shape shape;
        Squeeze squeeze;
        std::vector<std::unique_ptr<Step>> steps;
        std::vector<ActnormMixing*> mixings;  // of the steps
        std::optional<Split> split;           // all but the last level
    };
    std::vector<Level>& levels() { return levels_; }
    // The order of forward: squeeze(level), step(level, step, l, k) for its steps, split(level) where it has one.
    template <class OnSqueeze, class OnStep, class OnSplit>
    void for_each_layer(OnSqueeze squeeze, OnStep step, OnSplit split) {
        for (index_t l = 0; l < std::ssize(levels_); ++l) {
            Level& level = levels_[l];
            squeeze(level);
            for (index_t k = 0; k < std::ssize(level.steps); ++k) step(level, *level.steps[k], l, k);
            if (level.split) split(level);
        }
    }
    // The reverse order, of inverse.
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
    void transform_levels(const Context& context, Flow& flow, SavedActivations* saved, bool to_eps);
    void invert_levels(const Context& context, Flow& flow, bool from_eps);
    const SavedActivations::Step* save(const Context& context, SavedActivations* saved, index_t l, index_t k,
                                       const Flow& flow);
    void allocate_folded(Arena& derived);

    ModelConfig config_;
    Precision precision_;
    bool fold_ahead_;
    Parameters parameters_;
    std::vector<Level> levels_;
    std::optional<TopPrior> top_;
    FoldedWeights folded_;                  // of all coupling networks, where they are kept
    std::optional<Classifier> classifier_;  // --weight-y
    std::vector<ParameterBlock> blocks_;    // from the top down
    double* conditions_ = nullptr;          // [L * K] of W, in the memory of the device
};

}  // namespace glow::inline GLOW_REAL

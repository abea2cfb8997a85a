// Affine and additive coupling layers (paper section 3.3, the code's form; spec section 1): a passes, b is
// transformed by a network of a. Runs tile by tile: a tile's hidden maps are all the memory it needs.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "layers/layer.h"
#include "layers/network.h"

namespace glow::inline GLOW_REAL {

class Coupling : public Layer {
  public:
    // tile: images per tile, 0 = the rule of images_per_tile().
    Coupling(const ModelConfig& config, const Shape& shape, Precision precision, Engine engine, index_t tile,
             const std::string& name, Parameters& parameters);

    // Layers of equal shape and kind that were made one after the other: the steps of a level. Where folded
    // weights are kept, allocate() takes their memory and prepare() makes those of all levels, after every
    // change of the parameters.
    using Steps = std::span<Coupling* const>;
    static void allocate(Steps steps, Arena& derived);
    static void prepare(const Context& context, std::span<const Steps> levels);

    void initialise(const Context& context, Flow& flow) override;
    void forward(const Context& context, Flow& flow) override { forward(context, flow, nullptr); }
    void inverse(const Context& context, Flow& flow) override { inverse(context, flow, nullptr); }
    // The network is recomputed once: that one run serves the inverse of the layer and the gradient.
    void backward(const Context& context, Flow& flow, Gradient& gradient) override {
        backward(context, flow, gradient, nullptr);
    }

    // What the policy `store` keeps: the network's maps, tile by tile.
    using Kept = std::vector<CouplingNetwork::Maps>;
    Kept take_kept(const Blocking& blocking, Arena& arena, index_t N) const;
    void forward(const Context& context, Flow& flow, const Kept* kept);
    void backward(const Context& context, Flow& flow, Gradient& gradient, const Kept* kept);

    // network_input: another state of the same shape whose a half feeds the network instead of flow's own.
    void inverse(const Context& context, Flow& flow, const state_t* network_input);

    // What the network says of states h [N, H, W, C], of which it reads the first C/2 channels: out
    // [N*H*W, outputs()] (kernels/coupling.h). Overwrites out alone.
    void predict(const Context& context, index_t N, const state_t* h, real* out) const;
    index_t outputs() const { return network_->outputs(); }

  private:
    template <class F>
    void for_each_tile(const Blocking& blocking, bool dry, index_t N, F f) const;

    Shape shape_;
    CouplingKind kind_;
    index_t tile_, width_;
    std::unique_ptr<CouplingNetwork> network_;
    std::optional<CouplingNetwork::Folded> folded_;  // of this and the following steps
};

}  // namespace glow::inline GLOW_REAL

// Affine and additive coupling layers (paper section 3.3 in the form of the published code): a network of the
// first half of the channels, `a`, transforms the second half, `b`; `a` is unchanged. In a conditional
// coupling the network also reads a condition: feature maps of known data, whose gradient backward also
// computes (Ho et al. 2019, section 3.1). Runs tile by tile, so only one tile's hidden maps need memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "layers/coupling_network.h"
#include "layers/layer.h"

namespace glow::inline GLOW_REAL {

class Coupling : public Layer {
  public:
    // tile: images per tile, 0 = images_per_tile().
    Coupling(const CouplingOptions& options, const Shape& shape, Precision precision, Engine engine,
             index_t tile, const std::string& name, Parameters& parameters);

    CouplingNetwork& network() { return *network_; }
    const CouplingNetwork& network() const { return *network_; }

    void initialize(const Context& context, Flow& flow) override;
    void forward(const Context& context, Flow& flow) override { forward(context, flow, nullptr); }
    void inverse(const Context& context, Flow& flow) override;
    // Recomputes the network once, for both the layer's inverse and the gradient.
    void backward(const Context& context, Flow& flow, Gradient& gradient) override {
        backward(context, flow, gradient, nullptr);
    }

    // Saved by policy `store`: the network's maps, tile by tile.
    using SavedMaps = std::vector<CouplingNetwork::Maps>;
    SavedMaps take_maps(const Blocking& blocking, Arena& arena, index_t N) const;
    // Writes to the maps that `saved` points to, unless it is nullptr.
    void forward(const Context& context, Flow& flow, const SavedMaps* saved);
    void backward(const Context& context, Flow& flow, Gradient& gradient, const SavedMaps* saved);
    // The same without its last kernel, unfold_network(), whose argument it returns: a layer that follows can
    // run it together with a kernel of its own. Uses `scratch` until then.
    FoldedGradient take_gradient(const Context& context, index_t N) const {
        return network_->take_gradient(context, N);
    }
    NetworkUnfolding start_backward(const Context& context, Flow& flow, Gradient& gradient,
                                    const SavedMaps* saved, const FoldedGradient& scratch);

    // As forward(), but adds the log scales by pixel, log_density [N, H, W] += (nats), instead of to logdet.
    void forward_by_pixel(const Context& context, Flow& flow, double* log_density) const;

    // The network's output for states h [N, H, W, C], of which it reads the first C/2 channels: out [N*H*W,
    // outputs()] (kernels/coupling.h). Overwrites only out. Not for conditional couplings.
    void predict(const Context& context, index_t N, const state_t* h, real* out) const;
    index_t outputs() const { return network_->outputs(); }

  private:
    // Calls f(first image, images) for every tile. skip: only for the first and the last tile, when counting
    // memory.
    template <class F>
    void for_each_tile(const Blocking& blocking, bool skip, index_t N, F f) const;
    // Calls f(first image, images, out) for every tile with the network's output, out [images*H*W, outputs()].
    template <class F>
    void for_each_output(const Context& context, const Flow& flow, F f) const;
    // Input of the network for images n .. n + images - 1: the state, or state and condition joined in
    // scratch.
    StatePixels input(const Context& context, const Flow& flow, index_t n, index_t images) const;

    Shape shape_;
    CouplingOptions options_;
    index_t tile_;
    std::unique_ptr<CouplingNetwork> network_;
};

// Describes the coupling networks of a level's steps for FoldedWeights. The steps (structs with a member
// `coupling`) have equal shapes, and their parameters a constant stride.
template <class Step>
FoldedLevel networks_of(const std::vector<std::unique_ptr<Step>>& steps) {
    const auto offset = [&](std::size_t k) {
        return steps[k]->coupling.network().parameters().weight1.offset();
    };
    const CouplingNetwork& first = steps[0]->coupling.network();
    const index_t step = steps.size() > 1 ? offset(1) - offset(0) : 0;
    return {&first.parameters(), first.layout(), std::ssize(steps), step, {}};
}

}  // namespace glow::inline GLOW_REAL

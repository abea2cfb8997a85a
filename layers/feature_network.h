// A network of known values alone, without a coupling: conv 3x3 -> actnorm -> relu -> conv 1x1 -> actnorm -> relu ->
// conv 3x3 (initially zero), as in the couplings. Its features are the condition of conditional couplings.
#pragma once

#include "layers/coupling_network.h"

namespace glow::inline GLOW_REAL {

class FeatureNetwork {
  public:
    // tile: images per tile, 0 = images_per_tile().
    FeatureNetwork(const NetworkShape& shape, Precision precision, index_t tile, const std::string& name,
                   Parameters& parameters);

    CouplingNetwork& network() { return *network_; }
    index_t outputs() const { return network_->outputs(); }

    // Sets the hidden actnorms from x [N, H, W, inputs] on all processes.
    void initialize(const Context& context, index_t N, const state_t* x);
    // features [N, H, W, outputs()] = NN(x).
    void forward(const Context& context, index_t N, const state_t* x, real* features) const;
    // Parameter gradients += from dfeatures; recomputes the network. There is no gradient to x.
    void backward(const Context& context, index_t N, const state_t* x, const real* dfeatures,
                  const ParameterGradients& gradients) const;

  private:
    NetworkShape shape_;
    index_t tile_;
    std::unique_ptr<CouplingNetwork> network_;

    index_t images_at_once(const Context& context, index_t N) const {
        return images_per_tile(tile_, shape_.H * shape_.W, shape_.width, N, context.blocking);
    }
};

}  // namespace glow::inline GLOW_REAL

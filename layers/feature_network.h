// Network that computes the condition of conditional couplings from data: conv 3x3 -> actnorm -> relu -> conv
// 1x1 -> actnorm -> relu -> conv 3x3 (initially zero), the architecture of the coupling networks.
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

    // Initializes the hidden actnorms from the x [N, H, W, inputs] of all processes.
    void initialize(const Context& context, index_t N, const state_t* x);
    // features [N, H, W, outputs()] = NN(x).
    void forward(const Context& context, index_t N, const state_t* x, real* features) const;
    // Accumulates (+=) the parameter gradients; recomputes the network. Computes no gradient of x, which is
    // data.
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

#include "layers/feature_network.h"

#include <algorithm>

#include "runtime/trace.h"

namespace glow::inline GLOW_REAL {

FeatureNetwork::FeatureNetwork(const NetworkShape& shape, Precision precision, index_t tile,
                               const std::string& name, Parameters& parameters)
    : shape_(shape),
      tile_(tile),
      network_(make_network(shape, std::nullopt, precision, Engine::gemm, name, parameters)) {}

void FeatureNetwork::initialize(const Context& context, index_t N, const state_t* x) {
    network_->initialize(context, N, images_at_once(context, N), {x, shape_.inputs});
}

void FeatureNetwork::forward(const Context& context, index_t N, const state_t* x, real* features) const {
    const Trace trace("features");
    const Arena::Scope scope(context.workspace);
    network_->forward(context, network_->folded(context), N, {x, shape_.inputs}, features);
}

void FeatureNetwork::backward(const Context& context, index_t N, const state_t* x, const real* dfeatures,
                              const ParameterGradients& gradients) const {
    const Trace trace("features backward");
    const Arena::Scope scope(context.workspace);
    const FoldedNetwork folded = network_->folded(context);
    const FoldedGradient dfolded = network_->take_gradient(context, N);
    const index_t tile = images_at_once(context, N), pixels = shape_.H * shape_.W;
    const StatePixels input{x, shape_.inputs};
    for (index_t n = 0; n < N; n = next_block(context.skips_blocks(), n, tile, N)) {
        const Arena::Scope tile_scope(context.workspace);
        network_->backward(context, folded,
                           {.first = n,
                            .N = std::min(tile, N - n),
                            .input = input.from(n * pixels),
                            .dinput = nullptr,
                            .dout = dfeatures + n * pixels * outputs()},
                           dfolded, gradients);
    }
    network_->unfold(context, dfolded, gradients);
}

}  // namespace glow::inline GLOW_REAL

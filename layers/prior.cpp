// The top prior's map and its gradient.
#include "layers/prior.h"

#include <algorithm>

#include "kernels/convolution.h"
#include "kernels/coupling.h"
#include "kernels/network.h"

namespace glow::inline GLOW_REAL {

TopPrior::TopPrior(const ModelConfig& config, const Shape& shape, Parameters& parameters)
    : shape_(shape), learn_(config.learn_top), edge_(config.learn_top && config.edge_bias) {
    if (!learn_) return;
    if (edge_) weight_ = parameters.add("prior/top/weight", {2 * shape.C, 3, 3, 1}, Start::zeros);
    bias_ = parameters.add("prior/top/bias", {2 * shape.C}, Start::zeros);
    logs_ = parameters.add("prior/top/logs", {2 * shape.C}, Start::zeros);
}

void TopPrior::allocate(Arena& derived) {
    map_ = derived.take<real>(2 * shape_.size());
    scale_ = derived.take<double>(2 * shape_.C);
}

void TopPrior::prepare(const Context& context) {
    fill(context.place, 2 * shape_.size(), real{0}, map_);
    if (!learn_) return;
    exp_scale(context.place, 2 * shape_.C, logs_.value(), scale_);
    zero_convolution_finish(context.place, {shape_.H, shape_.W, 0, shape_.H}, 2 * shape_.C,
                            edge_ ? weight_.value() : nullptr, 1, bias_.value(), scale_, map_);
}

void TopPrior::forward(const Context& context, Flow& flow) {
    const Arena::Scope scope(context.workspace);
    gaussian_log_density(context.place, latents(flow), shared_gaussian(shape_.C), map_, map_ + shape_.C,
                         flow.h, flow.prior, context.workspace.take<double>(group_scratch(flow.N)));
}

void TopPrior::backward(const Context& context, const Flow& flow, Gradient& gradient) {
    const index_t C = shape_.C;
    const Arena::Scope scope(context.workspace);
    real* const dmap = context.workspace.take<real>(2 * shape_.size());
    gaussian_backward(context.place, latents(flow), shared_gaussian(C), map_, map_ + C, flow.h,
                      gradient.dlogp, gradient.dh, dmap, dmap + C);
    if (!learn_) return;
    double* const partial = context.workspace.take<double>(column_scratch(9, 2 * C));
    zero_convolution_backward(context.place, shape_.pixels(), 2 * C, scale_, map_, dmap, bias_.gradient(),
                              logs_.gradient(), partial);
    if (edge_)
        edge_weight_backward(context.place, 1, shape_.H, shape_.W, 2 * C, dmap, weight_.gradient(), 1,
                             partial);
}

void TopPrior::encode(const Context& context, Flow& flow) {
    gaussian_encode(context.place, latents(flow), shared_gaussian(shape_.C), map_, map_ + shape_.C, flow.h);
}

void TopPrior::decode(const Context& context, Flow& flow) {
    gaussian_decode(context.place, latents(flow), shared_gaussian(shape_.C), map_, map_ + shape_.C, flow.h);
}

}  // namespace glow::inline GLOW_REAL

#include "layers/prior.h"

#include <algorithm>

#include "kernels/class_conditioning.h"
#include "kernels/convolution.h"
#include "kernels/density_map.h"
#include "kernels/elementwise.h"
#include "kernels/reduce.h"

namespace glow::inline GLOW_REAL {

TopPrior::TopPrior(const ModelConfig& config, const Shape& shape, Parameters& parameters)
    : shape_(shape),
      learn_(config.learn_top),
      edge_(config.learn_top && config.edge_bias),
      classes_(config.y_cond ? config.n_classes : 0) {
    const index_t J = 2 * shape.C;
    if (edge_) weight_ = parameters.add("prior/top/weight", {J, 3, 3, 1}, Init::zeros);
    if (learn_) {
        bias_ = parameters.add("prior/top/bias", {J}, Init::zeros);
        logs_ = parameters.add("prior/top/logs", {J}, Init::zeros);
    }
    if (classes_ > 0) {
        class_weight_ = parameters.add("prior/class/weight", {classes_, J}, Init::zeros);
        class_bias_ = parameters.add("prior/class/bias", {J}, Init::zeros);
        class_logs_ = parameters.add("prior/class/logs", {J}, Init::zeros);
    }
}

void TopPrior::allocate(Arena& derived) {
    map_ = derived.take<real>(2 * shape_.size());
    scale_ = derived.take<double>(2 * shape_.C);
    if (classes_ > 0) class_vectors_ = derived.take<real>(classes_ * 2 * shape_.C);
}

void TopPrior::derive(const Context& context) {
    fill(context.exec, 2 * shape_.size(), real{0}, map_);
    if (learn_) {
        exp_scale(context.exec, 2 * shape_.C, logs_.value(), scale_);
        zero_convolution_finish(context.exec, {shape_.H, shape_.W, 0, shape_.H}, 2 * shape_.C,
                                edge_ ? weight_.value() : nullptr, 1, bias_.value(), scale_, map_);
    }
    if (classes_ > 0)
        class_vectors(context.exec, classes_, 2 * shape_.C, class_weight_.value(), class_bias_.value(),
                      class_logs_.value(), class_vectors_);
}

TopPrior::Map TopPrior::map(const Context& context, const Flow& flow) const {
    const index_t C = shape_.C;
    if (classes_ == 0) return {map_, map_ + C, shared_gaussian(C)};
    real* const maps = context.workspace.take<real>(flow.N * 2 * shape_.size());
    class_maps(context.exec, flow.N, shape_.pixels(), 2 * C, map_, class_vectors_, flow.labels, maps);
    return {maps, maps + C, {2 * C, 1, 1}};
}

void TopPrior::forward(const Context& context, Flow& flow) {
    const Arena::Scope scope(context.workspace);
    const Map at = map(context, flow);
    gaussian_log_density(context.exec, latents(flow), {at.layout, at.mean, at.logs}, flow.h, flow.prior,
                         context.workspace.take<double>(group_scratch(flow.N)));
}

void TopPrior::forward_by_pixel(const Context& context, const Flow& flow, double* log_density) const {
    const Arena::Scope scope(context.workspace);
    const Map at = map(context, flow);
    gaussian_log_density_by_pixel(context.exec, latents(flow), {at.layout, at.mean, at.logs}, flow.h,
                                  log_density);
}

void TopPrior::backward(const Context& context, const Flow& flow, Gradient& gradient) {
    const index_t C = shape_.C, J = 2 * C;
    const Arena::Scope scope(context.workspace);
    const Map at = map(context, flow);
    if (gradient.from_eps)
        return gaussian_encode_backward(context.exec, latents(flow), {at.layout, at.mean, at.logs}, flow.h,
                                        gradient.dh, nullptr, nullptr);
    real* const dmap = context.workspace.take<real>(2 * shape_.size());
    real* const dmaps =
        classes_ > 0 ? context.workspace.take<real>(flow.N * 2 * shape_.size()) : dmap;  // one per image
    gaussian_backward(context.exec, latents(flow), {at.layout, at.mean, at.logs}, flow.h, gradient.dlogp,
                      gradient.dh, dmaps, dmaps + C);
    if (classes_ > 0) {
        double* const image_sums = context.workspace.take<double>(flow.N * J);
        class_maps_backward(context.exec, flow.N, shape_.pixels(), J, dmaps, dmap, image_sums);
        class_vectors_backward(
            context.exec, {flow.N, classes_, J, flow.labels, image_sums}, class_vectors_, class_logs_.value(),
            {class_weight_.gradient(gradient.parameters), class_bias_.gradient(gradient.parameters),
             class_logs_.gradient(gradient.parameters)});
    }
    if (learn_) map_backward(context, dmap, gradient);
}

// Parameter gradients of the learned map from dmap [H*W, 2C]; overwrites dmap.
void TopPrior::map_backward(const Context& context, real* dmap, const Gradient& gradient) {
    const index_t J = 2 * shape_.C;
    double* const partial = context.workspace.take<double>(column_scratch(9, J));
    zero_convolution_backward(context.exec, shape_.pixels(), J, scale_, map_, dmap,
                              {bias_.gradient(gradient.parameters), logs_.gradient(gradient.parameters)},
                              partial);
    if (edge_)
        edge_weight_backward(context.exec, ImageRows::of_images(1, shape_.H, shape_.W), J, dmap,
                             weight_.gradient(gradient.parameters), 1, partial);
}

void TopPrior::encode(const Context& context, Flow& flow) {
    const Arena::Scope scope(context.workspace);
    const Map at = map(context, flow);
    gaussian_encode(context.exec, latents(flow), {at.layout, at.mean, at.logs}, flow.h);
}

void TopPrior::decode(const Context& context, Flow& flow) {
    const Arena::Scope scope(context.workspace);
    const Map at = map(context, flow);
    gaussian_decode(context.exec, latents(flow), {at.layout, at.mean, at.logs}, flow.h);
}

void TopPrior::predict(const Context& context, index_t N, const std::int32_t* labels, real* out) const {
    const Arena::Scope scope(context.workspace);
    Flow flow;
    flow.N = N;
    flow.labels = labels;
    const Map at = map(context, flow);
    const index_t size = 2 * shape_.size();
    for (index_t n = 0; n < N; ++n)
        copy(context.exec, size, at.mean + n * size * at.layout.per_image, out + n * size);
}

}  // namespace glow::inline GLOW_REAL

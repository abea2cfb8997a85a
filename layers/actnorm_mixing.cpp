// Forward y = M x + M b, inverse x = M^-1 y - b. Gradients need one matrix product, then unfolding.
#include "layers/actnorm_mixing.h"

#include <algorithm>

#include "kernels/actnorm_init.h"
#include "kernels/elementwise.h"
#include "kernels/reduce.h"
#include "runtime/trace.h"

namespace glow::inline GLOW_REAL {

ActnormMixing::ActnormMixing(const Shape& shape, Permutation permutation, const std::string& name,
                             Parameters& parameters)
    : shape_(shape),
      permutation_(permutation),
      bias_(parameters.add(name + "/actnorm/bias", {shape.C}, Init::zeros)),
      logs_(parameters.add(name + "/actnorm/logs", {shape.C}, Init::zeros)) {
    const index_t C = shape.C;
    if (permutation == Permutation::invconv)
        weight_ = parameters.add(name + "/invconv/weight", {C, C}, Init::orthogonal);
    if (permutation == Permutation::invconv_lu) lu_ = parameters.add_lu(name + "/invconv", C);
    if (permutation == Permutation::shuffle)
        indices_ = parameters.add_fixed(name + "/shuffle/indices", {C}, Init::shuffled, true);
}

void ActnormMixing::allocate(Steps steps, Arena& derived, double* conditions) {
    const index_t K = static_cast<index_t>(steps.size()), C = steps[0]->shape_.C;
    const MixingValues all{
        derived.take<double>(K * C * C), derived.take<double>(K * C * C), derived.take<double>(K * C * C),
        derived.take<double>(K * C * C), derived.take<double>(K * C),     derived.take<double>(K * C),
        derived.take<double>(K),         derived.take<double>(K),         conditions};
    for (index_t k = 0; k < K; ++k) steps[k]->values_ = all.from(k, C);
}

index_t ActnormMixing::fixed_offset() const {
    return permutation_ == Permutation::invconv_lu ? lu_.permutation.offset() : indices_.offset();
}

ActnormParameters ActnormMixing::actnorm() const {
    return {bias_.value(), logs_.value()};
}

ActnormGradients ActnormMixing::actnorm_gradients(const Gradient& gradient) const {
    return {bias_.gradient(gradient.parameters), logs_.gradient(gradient.parameters)};
}

LuFactors ActnormMixing::factors() const {
    return {lu_.permutation.value(), lu_.sign.value(), lu_.log_diag.value(), lu_.lower.value(),
            lu_.upper.value()};
}

void ActnormMixing::start_deriving(const Context& context, Steps steps) {
    const Trace trace("mixing derived values");
    const ActnormMixing& first = *steps[0];
    const Exec& exec = context.exec;
    const MixingValues& v = first.values_;
    const index_t K = static_cast<index_t>(steps.size()), C = first.shape_.C;
    const index_t stride = K > 1 ? first.stride_to(*steps[1]) : 0;
    const index_t fixed_stride = K > 1 ? first.fixed_stride_to(*steps[1]) : 0;
    switch (first.permutation_) {
        case Permutation::invconv:
            dense_weight(exec, K, C, stride, first.weight_.value(), v.W);
            break;
        case Permutation::invconv_lu:
            lu_weight(exec, K, C, stride, fixed_stride, first.factors(), v.W);
            break;
        case Permutation::shuffle:
        case Permutation::reverse:
            permutation_weight(exec, K, C, fixed_stride,
                               first.permutation_ == Permutation::shuffle ? first.indices_.value() : nullptr,
                               v);
            break;
    }
    const bool learned =
        first.permutation_ == Permutation::invconv || first.permutation_ == Permutation::invconv_lu;
    if (learned && !context.counting())
        context.solver.invert(K, C, v.W, v.W_inverse, v.mixing_logdet, v.condition);
    fold_mixing(exec, K, C, first.shape_.pixels(), stride, first.actnorm(), v);
}

void ActnormMixing::finish_deriving(const Context& context, Steps steps) {
    const Trace trace("mixing inverses");
    const ActnormMixing& first = *steps[0];
    const Exec& exec = context.exec;
    const MixingValues& v = first.values_;
    const index_t K = static_cast<index_t>(steps.size()), C = first.shape_.C;
    const index_t stride = K > 1 ? first.stride_to(*steps[1]) : 0;
    if (!context.counting()) context.solver.finish();
    if (first.permutation_ == Permutation::invconv_lu)
        lu_log_determinant(exec, K, C, stride, first.lu_.log_diag.value(), v.mixing_logdet);
    fold_mixing_inverse(exec, K, C, first.shape_.pixels(), stride, first.actnorm(), v);
}

void ActnormMixing::initialize(const Context& context, Flow& flow, double spread) {
    const index_t rows = flow.N * shape_.pixels();
    {
        const Arena::Scope scope(context.workspace);
        double* const moments = context.workspace.take<double>(2 * shape_.C);
        double* const partial = context.workspace.take<double>(column_scratch(2, shape_.C));
        fill(context.exec, 2 * shape_.C, 0.0, moments);
        add_moments(context.exec, rows, shape_.C, flow.h, shape_.C, moments, partial);
        context.sum_over_processes(2 * shape_.C, moments);
        actnorm_from_moments(context.exec, context.sum_over_processes(static_cast<double>(rows)), shape_.C,
                             moments, bias_.value(), logs_.value(), spread);
    }
    ActnormMixing* const self = this;
    derive(context, {&self, 1});
    forward(context, flow);
}

void ActnormMixing::forward(const Context& context, Flow& flow, bool with_logdet) {
    const Trace trace("mixing");
    affine_rows(context.exec, flow.N * shape_.pixels(), shape_.C, values_.M, values_.shift, flow.h);
    if (!with_logdet) return;
    add_to_all(context.exec, flow.N, values_.actnorm_logdet, flow.logdet);
    add_to_all(context.exec, flow.N, values_.mixing_logdet, flow.logdet);
}

void ActnormMixing::add_logdets(const Context& context, Steps steps, Flow& flow) {
    add_logdets_to_all(context.exec, flow.N, std::ssize(steps), steps[0]->values_, flow.logdet);
}

void ActnormMixing::inverse(const Context& context, Flow& flow) {
    const Trace trace("mixing inverse");
    affine_rows(context.exec, flow.N * shape_.pixels(), shape_.C, values_.M_inverse, values_.minus_bias,
                flow.h);
}

void ActnormMixing::backward(const Context& context, Flow& flow, Gradient& gradient,
                             const NetworkUnfolding* network) {
    const index_t rows = flow.N * shape_.pixels();
    if (has_mixing_backward(context.exec, shape_.C))
        return fused_backward(context, rows, flow.h, nullptr, gradient, network);
    inverse(context, flow);  // h: y -> x
    this->gradient(context, flow.N, flow.h, gradient, network);
}

void ActnormMixing::fused_backward(const Context& context, index_t rows, state_t* h, const state_t* x,
                                   const Gradient& gradient, const NetworkUnfolding* network) const {
    const Trace trace("mixing backward");
    const Arena::Scope scope(context.workspace);
    const index_t C = shape_.C;
    const bool lu = permutation_ == Permutation::invconv_lu;
    const MixingGradients gradients{
        .dMc = lu ? context.workspace.take<real>(C * (C + 1)) : nullptr,
        .dW = permutation_ == Permutation::invconv ? weight_.gradient(gradient.parameters) : nullptr,
        .actnorm = actnorm_gradients(gradient)};
    const double dlogdet = gradient.dlogp * static_cast<double>(rows);
    mixing_backward(context.exec, C, {rows, h, x, gradient.dh}, values_, actnorm(), dlogdet, gradients,
                    context.workspace.take<real>(mixing_backward_scratch(rows, C)), network);
    if (lu) factors_gradient(context, gradients.dMc, dlogdet, gradient);
}

void ActnormMixing::gradient(const Context& context, index_t N, const state_t* x, Gradient& gradient,
                             const NetworkUnfolding* network) const {
    const index_t rows = N * shape_.pixels(), C = shape_.C;
    if (has_mixing_backward(context.exec, C))
        return fused_backward(context, rows, nullptr, x, gradient, network);
    if (network != nullptr) unfold_network(context.exec, *network);
    const Trace trace("mixing gradient");
    const Arena::Scope scope(context.workspace);

    // y = M x + c, so (dM, dc) = dy^T (x, 1). Row blocks bound the copy of x in `real`.
    const index_t block = context.blocking.block_pixels;
    real* const dMc = context.workspace.take<real>(C * (C + 1));
    real* const x1 = context.workspace.take<real>(std::min(rows, block) * (C + 1));
    for (index_t first = 0; first < rows; first = next_block(context.skips_blocks(), first, block, rows)) {
        const index_t count = std::min(block, rows - first);
        cast_with_one(context.exec, count, C, x + first * C, x1);
        context.gemm({.m = C,
                      .n = C + 1,
                      .k = count,
                      .transpose_a = true,
                      .lda = C,
                      .ldb = C + 1,
                      .ldc = C + 1,
                      .in = scalar_of<real>,
                      .out = scalar_of<real>,
                      .accumulate = first > 0},
                     gradient.dh + first * C, x1, dMc);
    }
    affine_rows_gradient(context.exec, rows, C, values_.M, gradient.dh);  // dh: dL/dy -> M^T dL/dy
    const double dlogdet = gradient.dlogp * static_cast<double>(rows);
    if (permutation_ == Permutation::invconv)
        dense_weight_gradient(context.exec, C, dMc, values_.W_inverse, actnorm(), dlogdet,
                              weight_.gradient(gradient.parameters));
    if (permutation_ == Permutation::invconv_lu) factors_gradient(context, dMc, dlogdet, gradient);
    actnorm_gradient(context.exec, C, dMc, values_.W, actnorm(), dlogdet, actnorm_gradients(gradient));
}

void ActnormMixing::factors_gradient(const Context& context, const real* dMc, double dlogdet,
                                     const Gradient& gradient) const {
    const Arena::Scope scope(context.workspace);
    const index_t C = shape_.C;
    lu_gradient(context.exec, C, dMc, factors(), actnorm(), dlogdet, context.workspace.take<double>(C * C),
                {lu_.log_diag.gradient(gradient.parameters), lu_.lower.gradient(gradient.parameters),
                 lu_.upper.gradient(gradient.parameters)});
}

}  // namespace glow::inline GLOW_REAL

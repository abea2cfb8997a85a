// y = M x + M b forward, x = M^-1 y - b backward; gradients by one matrix product and an unfolding.
#include "layers/actnorm_mixing.h"

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/math.h"
#include "kernels/mixing.h"
#include "kernels/network.h"

namespace glow::inline GLOW_REAL {

ActnormMixing::ActnormMixing(const Shape& shape, const std::string& name, Parameters& parameters)
    : shape_(shape),
      bias_(parameters.add(name + "/actnorm/bias", {shape.C}, Start::zeros)),
      logs_(parameters.add(name + "/actnorm/logs", {shape.C}, Start::zeros)),
      weight_(parameters.add(name + "/invconv/weight", {shape.C, shape.C}, Start::orthogonal)) {}

void ActnormMixing::allocate(Arena& derived) {
    const index_t C = shape_.C;
    M_ = derived.take<double>(C * C);
    M_inverse_ = derived.take<double>(C * C);
    W_inverse_ = derived.take<double>(C * C);
    shift_ = derived.take<double>(C);
    minus_bias_ = derived.take<double>(C);
}

double ActnormMixing::prepare(const Context& context) {
    if (context.dry()) return 1;
    const index_t C = shape_.C;
    const real* const bias = bias_.value();
    const real* const logs = logs_.value();
    const real* const weight = weight_.value();
    const std::vector<double> W(weight, weight + C * C);
    const Inverse inverse = context.solver.invert(C, W.data(), W_inverse_);
    if (inverse.singular) return std::numeric_limits<double>::infinity();
    double sum_logs = 0;
    for (index_t i = 0; i < C; ++i) {
        const double s = exp_of(3.0 * logs[i]);
        if (!(s > 0 && std::isfinite(s)) || !std::isfinite(bias[i]))
            return std::numeric_limits<double>::infinity();
        sum_logs += logs[i];
        minus_bias_[i] = -static_cast<double>(bias[i]);
        for (index_t o = 0; o < C; ++o) {
            M_[o * C + i] = W[o * C + i] * s;
            M_inverse_[i * C + o] = W_inverse_[i * C + o] / s;
        }
    }
    for (index_t o = 0; o < C; ++o) {
        shift_[o] = 0;
        for (index_t i = 0; i < C; ++i) shift_[o] += M_[o * C + i] * bias[i];
    }
    actnorm_logdet_ = 3.0 * sum_logs * static_cast<double>(shape_.pixels());
    mixing_logdet_ = inverse.log_abs_det * static_cast<double>(shape_.pixels());
    return inverse.condition;
}

void ActnormMixing::initialise(const Context& context, Flow& flow) {
    const index_t rows = flow.N * shape_.pixels();
    {
        const Arena::Scope scope(context.workspace);
        double* const moments = context.workspace.take<double>(2 * shape_.C);
        double* const partial = context.workspace.take<double>(column_scratch(2, shape_.C));
        fill(context.place, 2 * shape_.C, 0.0, moments);
        add_moments(context.place, rows, shape_.C, flow.h, shape_.C, moments, partial);
        actnorm_from_moments(context.place, static_cast<double>(rows), shape_.C, moments, bias_.value(),
                             logs_.value());
    }
    prepare(context);
    forward(context, flow);
}

void ActnormMixing::forward(const Context& context, Flow& flow) {
    affine_rows(context.place, flow.N * shape_.pixels(), shape_.C, M_, shift_, flow.h);
    if (!context.dry())
        for (index_t n = 0; n < flow.N; ++n) flow.logdet[n] += actnorm_logdet_ + mixing_logdet_;
}

void ActnormMixing::inverse(const Context& context, Flow& flow) {
    affine_rows(context.place, flow.N * shape_.pixels(), shape_.C, M_inverse_, minus_bias_, flow.h);
}

void ActnormMixing::backward(const Context& context, Flow& flow, Gradient& gradient) {
    const index_t rows = flow.N * shape_.pixels(), C = shape_.C;
    const Arena::Scope scope(context.workspace);
    inverse(context, flow);  // h: y -> x

    // y = M x + c: (dM, dc) = dy^T (x, 1), over blocks of rows, so that the copy of x in real stays small.
    constexpr index_t kBlockRows = 8192;
    real* const dMc = context.workspace.take<real>(C * (C + 1));
    real* const x1 = context.workspace.take<real>(std::min(rows, kBlockRows) * (C + 1));
    for (index_t first = 0; first < rows; first += kBlockRows) {
        const index_t count = std::min(kBlockRows, rows - first);
        cast_with_one(context.place, count, C, flow.h + first * C, x1);
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
    affine_rows_gradient(context.place, rows, C, M_, gradient.dh);  // dh: dL/dy -> M^T dL/dy
    const double dlogdet = gradient.dlogp * static_cast<double>(flow.N * shape_.pixels());
    unfold_mixing(context.place, C, dMc, weight_.value(), W_inverse_, bias_.value(), logs_.value(), dlogdet,
                  weight_.gradient(), bias_.gradient(), logs_.gradient());
}

}  // namespace glow::inline GLOW_REAL

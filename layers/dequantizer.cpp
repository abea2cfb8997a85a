#include "layers/dequantizer.h"

#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/reduce.h"
#include "kernels/squeeze_split.h"
#include "kernels/variational_noise.h"
#include "runtime/trace.h"

namespace glow::inline GLOW_REAL {
namespace {

// Standard deviation before the last coupling, whose initial scale of 0.88 applies to half of the channels:
// the logits then have 1.74. The sigmoid of a normal variable is closest to uniform at a standard deviation
// of 1.75.
constexpr double kLogitSpread = 1.85;

Noise centers() {
    return {.kind = Dequantization::center};
}

}  // namespace

Dequantizer::Dequantizer(const ModelConfig& config, Precision precision, index_t tile, Parameters& parameters)
    : image_{config.image_height, config.image_width, config.channels},
      shape_(level_shape(config, 0)),
      features_(config.dequant_width),
      squeeze_(image_),
      network_({.H = shape_.H,
                .W = shape_.W,
                .inputs = shape_.C,
                .width = config.dequant_width,
                .outputs = config.dequant_width,
                .edge = config.edge_bias},
               precision, tile, "dequantizer/features", parameters) {
    const CouplingOptions coupling{
        .form = {}, .width = config.dequant_width, .edge_bias = config.edge_bias, .condition = features_};
    for (index_t k = 0; k < config.dequant_depth; ++k) {
        const std::string name = dequantizer_step_name(k);
        steps_.push_back(std::make_unique<Step>(
            Step{ActnormMixing(shape_, Permutation::invconv, name, parameters),
                 Coupling(coupling, shape_, precision, Engine::gemm, tile, name, parameters), name}));
        mixings_.push_back(&steps_.back()->mixing);
    }
}

std::vector<FoldedLevel> Dequantizer::networks() {
    const CouplingNetwork& features = network_.network();
    return {networks_of(steps_), {&features.parameters(), features.layout(), 1, 0, {}}};
}

void Dequantizer::use(const FoldedWeights& folded, index_t first_level) {
    for (std::size_t k = 0; k < steps_.size(); ++k)
        steps_[k]->coupling.network().use(folded.of(first_level, static_cast<index_t>(k)));
    network_.network().use(folded.of(first_level + 1, 0));
}

state_t* Dequantizer::take_squeezed_pixels(const Context& context, const Pixels& pixels) const {
    Arena& arena = context.workspace;
    state_t* const x = arena.take<state_t>(pixels.N * pixels.D);
    dequantize(context.exec, pixels, centers(), x);
    const Arena::Scope scope(arena);
    squeeze(context.exec, pixels.N, image_.H, image_.W, image_.C, x,
            arena.take<state_t>(pixels.N * pixels.D));
    return x;
}

real* Dequantizer::take_features(const Context& context, index_t N) const {
    return context.workspace.take<real>(N * shape_.pixels() * features_);
}

Flow Dequantizer::start(const Context& context, const Pixels& pixels, const Noise& noise, const Flow& flow,
                        double* minus_log_q, const real* features) const {
    const Arena::Scope scope(context.workspace);
    normal_noise(context.exec, pixels.N, pixels.D, noise, flow.h, minus_log_q,
                 context.workspace.take<double>(group_scratch(pixels.N)));
    return {.N = flow.N, .h = flow.h, .logdet = minus_log_q, .condition = features};
}

void Dequantizer::finish(const Context& context, const Pixels& pixels, Flow& flow, double* minus_log_q,
                         state_t* logits) {
    squeeze_.inverse(context, flow);
    const Arena::Scope scope(context.workspace);
    dequantize_by_logits(context.exec, pixels, flow.h, logits, minus_log_q,
                         context.workspace.take<double>(group_scratch(pixels.N)));
    flow.minus_log_q = minus_log_q;
}

void Dequantizer::initialize(const Context& context, const Pixels& pixels, const Noise& noise, Flow& flow,
                             double* minus_log_q) {
    const Trace trace("initialize dequantizer");
    const Arena::Scope scope(context.workspace);
    real* const features = take_features(context, pixels.N);
    {
        const Arena::Scope pixel_scope(context.workspace);
        const state_t* const x = take_squeezed_pixels(context, pixels);
        network_.initialize(context, pixels.N, x);
        network_.forward(context, pixels.N, x, features);
    }
    Flow eps = start(context, pixels, noise, flow, minus_log_q, features);
    for (const auto& step : steps_) {
        const Trace step_trace(step->name);
        step->mixing.initialize(context, eps, step == steps_.back() ? kLogitSpread : 1.0);
        step->coupling.initialize(context, eps);
    }
    finish(context, pixels, flow, minus_log_q, nullptr);
}

void Dequantizer::forward(const Context& context, const Pixels& pixels, const Noise& noise, Flow& flow,
                          double* minus_log_q, state_t* logits) {
    const Trace trace("dequantize");
    const Arena::Scope scope(context.workspace);
    real* const features = take_features(context, pixels.N);
    {
        const Arena::Scope pixel_scope(context.workspace);
        network_.forward(context, pixels.N, take_squeezed_pixels(context, pixels), features);
    }
    Flow eps = start(context, pixels, noise, flow, minus_log_q, features);
    for (const auto& step : steps_) {
        const Trace step_trace(step->name);
        step->mixing.forward(context, eps, !context.exec.tuned_for_gpu());
        step->coupling.forward(context, eps);
    }
    finish(context, pixels, flow, minus_log_q, logits);
}

void Dequantizer::add_logdets(const Context& context, index_t N, double* sums) const {
    if (context.exec.tuned_for_gpu()) add_logdets_to_all(context.exec, N, std::ssize(steps_), values(), sums);
}

void Dequantizer::backward(const Context& context, const Pixels& pixels, const Noise& noise, Flow& flow,
                           const state_t* logits, const Gradient& gradient, double* difference) {
    const Trace trace("dequantizer backward");
    Arena& arena = context.workspace;
    const Arena::Scope scope(arena);
    const Exec& exec = context.exec;
    const index_t N = pixels.N, values = N * pixels.D;
    double* const partial = arena.take<double>(group_scratch(N));
    dequantize_by_logits_difference(exec, pixels, logits, flow.h, difference, partial);
    dequantize_by_logits_backward(exec, values, pixels.n_bits, gradient.dlogp, logits, gradient.dh);
    copy(exec, values, logits, flow.h);
    squeeze_.forward(context, flow);
    {
        const Arena::Scope squeeze_scope(arena);
        squeeze(exec, N, image_.H, image_.W, image_.C, gradient.dh, arena.take<real>(values));
    }
    const state_t* const x = take_squeezed_pixels(context, pixels);
    real* const features = take_features(context, N);
    real* const dfeatures = take_features(context, N);
    network_.forward(context, N, x, features);
    fill(exec, N * shape_.pixels() * features_, real{0}, dfeatures);
    Flow logits_flow{.N = N, .h = flow.h, .condition = features};
    Gradient inner = gradient;
    inner.dcondition = dfeatures;
    for (std::size_t k = steps_.size(); k-- > 0;) {
        const Trace step_trace(steps_[k]->name);
        auto& [mixing, coupling, name] = *steps_[k];
        const Arena::Scope step_scope(arena);
        const NetworkUnfolding network =
            coupling.start_backward(context, logits_flow, inner, nullptr, coupling.take_gradient(context, N));
        mixing.backward(context, logits_flow, inner, &network);
    }
    normal_noise_difference(exec, N, pixels.D, noise, flow.h, difference, partial);
    network_.backward(context, N, x, dfeatures, gradient.parameters);
}

}  // namespace glow::inline GLOW_REAL

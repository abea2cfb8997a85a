#include "layers/glow.h"

#include <algorithm>
#include <cmath>

#include "kernels/elementwise.h"
#include "kernels/saved_state.h"
#include "runtime/device.h"
#include "runtime/trace.h"

namespace glow::inline GLOW_REAL {

Glow::Glow(const ModelConfig& config, const NetworkSettings& settings)
    : config_(config), precision_(settings.precision), prefold_weights_(settings.prefold_weights) {
    check(config);
    // Groups the tensors added since the previous call into a block.
    auto add_block = [this, begin = index_t{0}](index_t level, index_t step) mutable {
        blocks_.push_back({level, step, begin, parameters_.size() - begin});
        begin = parameters_.size();
    };
    // The dequantizer's parameters come first, because backward reaches them last.
    if (config.dequant_depth > 0) {
        dequantizer_.emplace(config, settings.precision, settings.tile, parameters_);
        add_block(-1, -1);
        parameters_.begin_separate_stream();
    }
    for (index_t l = 0; l < config.levels; ++l) {
        const Shape shape = level_shape(config, l);
        Level level{shape, Squeeze({shape.H * 2, shape.W * 2, shape.C / 4}), {}, {}, std::nullopt};
        const Engine engine =
            settings.engines.empty() ? Engine::gemm : settings.engines.at(static_cast<std::size_t>(l));
        for (index_t k = 0; k < config.depth; ++k) {
            const std::string step = step_name(l, k);
            level.steps.push_back(
                std::make_unique<Step>(Step{ActnormMixing(shape, config.permutation, step, parameters_),
                                            Coupling(coupling_options(config), shape, settings.precision,
                                                     engine, settings.tile, step, parameters_),
                                            step}));
            add_block(l, k);
            level.mixings.push_back(&level.steps.back()->mixing);
        }
        if (l + 1 < config.levels) {
            level.split.emplace(config, shape, settings.tile, split_name(l), parameters_);
            add_block(l, -1);
        }
        levels_.push_back(std::move(level));
    }
    const Shape& top = levels_.back().shape;
    top_.emplace(config, top, parameters_);
    if (config.y_cond && config.weight_y > 0) classifier_.emplace(config, top, parameters_);
    add_block(config.levels, -1);
    std::reverse(blocks_.begin(), blocks_.end());
}

std::string ParameterBlock::name(index_t levels) const {
    if (level == levels) return "prior/top";
    if (level < 0) return "dequantizer";
    return step < 0 ? split_name(level) : step_name(level, step);
}

index_t largest_count(std::span<const ParameterBlock> blocks) {
    index_t largest = 0;
    for (const ParameterBlock& block : blocks) largest = std::max(largest, block.count);
    return largest;
}

void Glow::allocate(Arena& derived) {
    conditions_ = derived.take<double>(mixing_steps());
    for (std::size_t l = 0; l < levels_.size(); ++l)
        ActnormMixing::allocate(levels_[l].mixings, derived,
                                conditions_ + static_cast<index_t>(l) * config_.depth);
    if (dequantizer_) dequantizer_->allocate(derived, conditions_ + config_.levels * config_.depth);
    if (prefold_weights_) allocate_folded(derived);
    top_->allocate(derived);
}

void Glow::allocate_folded(Arena& derived) {
    std::vector<FoldedLevel> layouts;
    for (const Level& level : levels_) layouts.push_back(networks_of(level.steps));
    if (dequantizer_)
        for (const FoldedLevel& networks : dequantizer_->networks()) layouts.push_back(networks);
    folded_.allocate(derived, std::move(layouts));
    if (dequantizer_) dequantizer_->use(folded_, config_.levels);
    for (std::size_t l = 0; l < levels_.size(); ++l)
        for (std::size_t k = 0; k < levels_[l].steps.size(); ++k)
            levels_[l].steps[k]->coupling.network().use(
                folded_.of(static_cast<index_t>(l), static_cast<index_t>(k)));
}

void Glow::start_deriving(const Context& context) {
    for (Level& level : levels_) ActnormMixing::start_deriving(context, level.mixings);
    if (dequantizer_) dequantizer_->start_deriving(context);
    if (folded_.allocated()) {
        const Trace trace("folded weights");
        folded_.update(context);
    }
    top_->derive(context);
}

void Glow::finish_deriving(const Context& context) {
    for (Level& level : levels_) ActnormMixing::finish_deriving(context, level.mixings);
    if (dequantizer_) dequantizer_->finish_deriving(context);
}

std::string Glow::conditioned_layer(index_t i) const {
    const index_t of_levels = config_.levels * config_.depth;
    if (i >= of_levels) return dequantizer_step_name(i - of_levels);
    return step_name(i / config_.depth, i % config_.depth);
}

Glow::MixingCheck Glow::check_mixings(const Context& context) const {
    MixingCheck found;
    const std::vector<double> conditions = downloaded(context.exec, mixing_steps(), conditions_);
    index_t worst = 0;
    for (index_t i = 0; i < std::ssize(conditions); ++i) {
        if (conditions[i] > found.max_condition) worst = i;
        found.max_condition = std::max(found.max_condition, conditions[i]);
        if (!std::isfinite(conditions[i]) && found.bad_layer.empty()) found.bad_layer = conditioned_layer(i);
    }
    found.worst_layer = conditioned_layer(worst);
    return found;
}

Glow::ConstantLogdets Glow::constant_logdets(const Context& context) const {
    ConstantLogdets sums;
    for (const Level& level : levels_) {
        const MixingValues& values = level.mixings[0]->values();
        for (const double x : downloaded(context.exec, config_.depth, values.actnorm_logdet))
            sums.actnorm += x;
        for (const double x : downloaded(context.exec, config_.depth, values.mixing_logdet)) sums.mixing += x;
    }
    return sums;
}

void Glow::dequantize(const Context& context, const Pixels& pixels, const Noise& noise, Flow& flow,
                      const VariationalBuffers& buffers) {
    if (noise.kind == Dequantization::variational)
        return dequantizer_->forward(context, pixels, noise, flow, buffers.minus_log_q, buffers.logits);
    glow::dequantize(context.exec, pixels, noise, flow.h);
}

void Glow::initialize_dequantizer(const Context& context, const Pixels& pixels, const Noise& noise,
                                  Flow& flow, const VariationalBuffers& buffers) {
    dequantizer_->initialize(context, pixels, noise, flow, buffers.minus_log_q);
}

// logdet = -log q of variational noise, or 0.
void Glow::start_logdet(const Context& context, Flow& flow) {
    if (flow.minus_log_q != nullptr)
        copy(context.exec, flow.N, flow.minus_log_q, flow.logdet);
    else
        fill(context.exec, flow.N, 0.0, flow.logdet);
}

void Glow::initialize(const Context& context, Flow& flow) {
    const Trace trace("initialize");
    start_logdet(context, flow);
    fill(context.exec, flow.N, 0.0, flow.prior);
    for_each_layer([&](Level& level) { level.squeeze.forward(context, flow); },
                   [&](Level&, Step& step, index_t, index_t) {
                       const Trace step_trace(step.name);
                       step.mixing.initialize(context, flow);
                       step.coupling.initialize(context, flow);
                   },
                   [&](Level& level) { level.split->forward(context, flow); });
    top_->derive(context);
    top_->forward(context, flow);
    if (classifier_) classifier_->forward(context, flow);
}

// Saves from the input of step k of level l what backward needs. Returns nullptr if `saved` is nullptr.
const SavedActivations::Step* Glow::save(const Context& context, SavedActivations* saved, index_t l,
                                         index_t k, const Flow& flow) {
    if (saved == nullptr) return nullptr;
    const Level& level = levels_[static_cast<std::size_t>(l)];
    SavedActivations::Step& step = saved->add(context, level.shape, l, k, precision_, flow);
    step.has_maps = saved->policy_.saves_maps(l, k, config_.depth);
    if (step.has_maps)
        step.maps = level.steps[static_cast<std::size_t>(k)]->coupling.take_maps(context.blocking,
                                                                                 saved->arena_, flow.N);
    return &step;
}

void Glow::transform(const Context& context, Flow& flow, SavedActivations* saved) {
    const Trace trace("forward");
    transform_levels(context, flow, saved, false);
}

void Glow::encode(const Context& context, Flow& flow) {
    const Trace trace("encode");
    transform_levels(context, flow, nullptr, true);
    add_logdets(context, flow);
    top_->encode(context, flow);
}

void Glow::forward(const Context& context, Flow& flow, LayerObserver& observer) {
    const Trace trace("forward");
    if (flow.minus_log_q != nullptr) dequantizer_->add_logdets(context, flow.N, flow.minus_log_q);
    transform_levels(context, flow, nullptr, false, &observer);
}

std::vector<std::string> Glow::observed_layers() const {
    std::vector<std::string> layers;
    for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
        const std::string name = block->name(config_.levels);
        if (block->step < 0) {
            layers.push_back(name);
        } else {
            layers.push_back(name + "/mixing");
            layers.push_back(name + "/coupling");
        }
    }
    return layers;
}

// to_eps: convert the latents of splits to standard normal. With an observer, the log-determinants are added
// layer by layer.
void Glow::transform_levels(const Context& context, Flow& flow, SavedActivations* saved, bool to_eps,
                            LayerObserver* observer) {
    const bool with_logdets = observer != nullptr || !context.exec.tuned_for_gpu();
    const std::vector<std::string> layers =
        observer != nullptr ? observed_layers() : std::vector<std::string>();
    auto observe = [&, layer = layers.begin()]() mutable {
        if (observer != nullptr) observer->after(*layer++, flow);
    };
    start_logdet(context, flow);
    fill(context.exec, flow.N, 0.0, flow.prior);
    if (dequantizer_) observe();
    for_each_layer([&](Level& level) { level.squeeze.forward(context, flow); },
                   [&](Level&, Step& step, index_t l, index_t k) {
                       const Trace step_trace(step.name);
                       const SavedActivations::Step* const saved_step = save(context, saved, l, k, flow);
                       step.mixing.forward(context, flow, with_logdets);
                       observe();
                       step.coupling.forward(context, flow,
                                             saved_step != nullptr ? saved_step->saved_maps() : nullptr);
                       observe();
                   },
                   [&](Level& level) {
                       level.split->forward(context, flow);
                       if (to_eps) level.split->encode(context, flow);
                       observe();
                   });
    top_->forward(context, flow);
    observe();
    if (classifier_) classifier_->forward(context, flow);
}

void Glow::add_logdets(const Context& context, Flow& flow) {
    if (!context.exec.tuned_for_gpu()) return;
    for (Level& level : levels_) ActnormMixing::add_logdets(context, level.mixings, flow);
    if (flow.minus_log_q == nullptr) return;
    for (double* const sums : {flow.logdet, flow.minus_log_q})
        dequantizer_->add_logdets(context, flow.N, sums);
}

void Glow::backward(const Context& context, Flow& flow, Gradient& gradient, const SavedActivations& saved,
                    GradientHook& hook) {
    const Trace trace("backward");
    for (const ParameterBlock& block : flow_blocks()) {
        gradient.parameters = hook.begin(block);
        backward(context, flow, gradient, saved, block);
        hook.complete(block);
    }
}

void Glow::backward(const Context& context, Flow& flow, Gradient& gradient, const SavedActivations& saved) {
    const Trace trace("backward");
    for (const ParameterBlock& block : flow_blocks()) backward(context, flow, gradient, saved, block);
}

void Glow::backward_dequantizer(const Context& context, const Pixels& pixels, const Noise& noise, Flow& flow,
                                const state_t* logits, Gradient& gradient, GradientHook& hook,
                                double* difference) {
    gradient.parameters = hook.begin(blocks_.back());
    dequantizer_->backward(context, pixels, noise, flow, logits, gradient, difference);
    hook.complete(blocks_.back());
}

void Glow::backward(const Context& context, Flow& flow, Gradient& gradient, const SavedActivations& saved,
                    const ParameterBlock& block) {
    if (block.level == config_.levels) {
        top_->backward(context, flow, gradient);
        if (classifier_ && !gradient.from_eps) classifier_->backward(context, flow, gradient);
        return;
    }
    Level& level = levels_[block.level];
    if (block.step < 0) return level.split->backward(context, flow, gradient);
    const SavedActivations::Step& step = saved.steps_[block.level * config_.depth + block.step];
    auto& [mixing, coupling, name] = *level.steps[block.step];
    const Trace trace(name);
    {
        const Arena::Scope scope(context.workspace);
        const NetworkUnfolding network = coupling.start_backward(context, flow, gradient, step.saved_maps(),
                                                                 coupling.take_gradient(context, flow.N));
        const bool first = block.level == 0 && block.step == 0;
        if (!step.restores()) {
            mixing.backward(context, flow, gradient, &network);
        } else {
            if (first || !step.replaces_state()) mixing.inverse(context, flow);
            if (first && saved.policy_.noisy_pixels)
                restore_noisy_pixels(context.exec, flow.N * level.shape.size(), flow.h);
            // Restoring an exact state stops drift from propagating further.
            const state_t* const x =
                SavedActivations::restore(context, level.shape, step, first, precision_, flow);
            mixing.gradient(context, flow.N, x, gradient, &network);
        }
    }
    if (block.step == 0) level.squeeze.backward(context, flow, gradient);
}

void Glow::decode(const Context& context, Flow& flow) {
    const Trace trace("decode");
    top_->decode(context, flow);
    for_each_layer_backwards(
        [&](Level& level) {
            level.split->decode(context, flow);
            level.split->inverse(context, flow);
        },
        [&](Level&, Step& step, index_t, index_t) {
            const Trace step_trace(step.name);
            step.coupling.inverse(context, flow);
            step.mixing.inverse(context, flow);
        },
        [&](Level& level) { level.squeeze.inverse(context, flow); });
}

MemoryPolicy Glow::policy_within(index_t N, std::size_t bytes) const {
    MemoryPolicy policy;
    policy.last_maps.assign(levels_.size(), 0);
    for (std::size_t l = levels_.size(); l-- > 0;) {
        Arena counting(Device::count_only, Category::stored, 0);
        levels_[l].steps[0]->coupling.take_maps(kCpuBlocking, counting, N);
        const index_t steps = std::min(config_.depth, static_cast<index_t>(bytes / counting.used()));
        policy.last_maps[l] = steps;
        bytes -= static_cast<std::size_t>(steps) * counting.used();
    }
    return policy;
}

double Glow::network_units(const MemoryPolicy& policy) const {
    double units = 0, work = 0;
    for (std::size_t l = 0; l < levels_.size(); ++l) {
        const Shape& shape = levels_[l].shape;
        const double forward = static_cast<double>(shape.pixels()) * network_multiplies(config_, shape);
        for (index_t k = 0; k < config_.depth; ++k) {
            units += forward * (policy.saves_maps(static_cast<index_t>(l), k, config_.depth) ? 3 : 4);
            work += forward;
        }
    }
    return units / work;
}

}  // namespace glow::inline GLOW_REAL

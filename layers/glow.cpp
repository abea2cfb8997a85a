// Forward and backward of the whole flow: read them as mirror images.
#include "layers/glow.h"

#include <algorithm>
#include <cmath>

#include "kernels/network.h"

namespace glow::inline GLOW_REAL {

Glow::Glow(const ModelConfig& config, const Execution& execution) : config_(config) {
    check(config);
    for (index_t l = 0; l < config.levels; ++l) {
        const Shape shape = level_shape(config, l);
        Level level{shape, Squeeze({shape.H * 2, shape.W * 2, shape.C / 4}), {}, std::nullopt};
        const std::string name = "level" + std::to_string(l);
        for (index_t k = 0; k < config.depth; ++k) {
            const std::string step = name + "/step" + std::to_string(k);
            level.steps.push_back(std::make_unique<Step>(
                Step{ActnormMixing(shape, step, parameters_),
                     Coupling(config, shape, execution.precision, execution.tile, step, parameters_)}));
        }
        if (l + 1 < config.levels)
            level.split.emplace(config, shape, execution.tile, name + "/split", parameters_);
        levels_.push_back(std::move(level));
    }
    top_.emplace(config, levels_.back().shape, parameters_);
}

void Glow::allocate(Arena& derived) {
    for (Level& level : levels_)
        for (auto& step : level.steps) step->mixing.allocate(derived);
    top_->allocate(derived);
}

Glow::Prepared Glow::prepare(const Context& context) {
    Prepared prepared;
    for (std::size_t l = 0; l < levels_.size(); ++l)
        for (std::size_t k = 0; k < levels_[l].steps.size(); ++k) {
            const double condition = levels_[l].steps[k]->mixing.prepare(context);
            prepared.max_condition = std::max(prepared.max_condition, condition);
            if (!std::isfinite(condition) && prepared.bad_layer.empty())
                prepared.bad_layer = "level" + std::to_string(l) + "/step" + std::to_string(k);
        }
    top_->prepare(context);
    return prepared;
}

void Glow::initialise(const Context& context, Flow& flow) {
    fill(context.place, flow.N, 0.0, flow.logdet);
    fill(context.place, flow.N, 0.0, flow.prior);
    for (Level& level : levels_) {
        level.squeeze.forward(context, flow);
        for (auto& step : level.steps) {
            step->mixing.initialise(context, flow);
            step->coupling.initialise(context, flow);
        }
        if (level.split) level.split->forward(context, flow);
    }
    top_->prepare(context);
    top_->forward(context, flow);
}

void Glow::forward(const Context& context, Flow& flow, Kept* kept) {
    fill(context.place, flow.N, 0.0, flow.logdet);
    fill(context.place, flow.N, 0.0, flow.prior);
    for (std::size_t l = 0; l < levels_.size(); ++l) {
        Level& level = levels_[l];
        const index_t size = flow.N * level.shape.size();
        level.squeeze.forward(context, flow);
        const auto save = [&] {
            state_t* const state = kept->arena_.take<state_t>(size);
            copy(context.place, size, flow.h, state);
            return state;
        };
        if (kept != nullptr) kept->starts_.push_back(l > 0 ? save() : nullptr);
        for (std::size_t k = 0; k < level.steps.size(); ++k) {
            const Coupling::Kept* maps = nullptr;
            if (kept != nullptr) {
                Kept::Step& step = kept->steps_.emplace_back();
                const index_t every = kept->keep_.anchor_every;
                if (every > 0 && k > 0 && static_cast<index_t>(k) % every == 0) step.state = save();
                if (kept->keep_.maps) {
                    step.maps = level.steps[k]->coupling.take_kept(kept->arena_, flow.N);
                    maps = &step.maps;
                }
            }
            level.steps[k]->mixing.forward(context, flow);
            level.steps[k]->coupling.forward(context, flow, maps);
        }
        if (level.split) level.split->forward(context, flow);
    }
    top_->forward(context, flow);
}

void Glow::backward(const Context& context, Flow& flow, Gradient& gradient, const Kept& kept) {
    top_->backward(context, flow, gradient);
    for (std::size_t l = levels_.size(); l-- > 0;) {
        Level& level = levels_[l];
        const index_t size = flow.N * level.shape.size();
        if (level.split) level.split->backward(context, flow, gradient);
        for (std::size_t k = level.steps.size(); k-- > 0;) {
            const Kept::Step& step = kept.steps_[l * level.steps.size() + k];
            level.steps[k]->coupling.backward(context, flow, gradient,
                                              kept.keep_.maps ? &step.maps : nullptr);
            level.steps[k]->mixing.backward(context, flow, gradient);
            if (step.state != nullptr) copy(context.place, size, step.state, flow.h);
        }
        // From the exact state on, nothing of this level's drift reaches the level below.
        if (kept.starts_[l] != nullptr) copy(context.place, size, kept.starts_[l], flow.h);
        level.squeeze.backward(context, flow, gradient);
    }
}

void Glow::inverse(const Context& context, Flow& flow) {
    for (std::size_t l = levels_.size(); l-- > 0;) {
        Level& level = levels_[l];
        if (level.split) level.split->inverse(context, flow);
        for (std::size_t k = level.steps.size(); k-- > 0;) {
            level.steps[k]->coupling.inverse(context, flow);
            level.steps[k]->mixing.inverse(context, flow);
        }
        level.squeeze.inverse(context, flow);
    }
}

void Glow::encode(const Context& context, Flow& flow) {
    fill(context.place, flow.N, 0.0, flow.logdet);
    fill(context.place, flow.N, 0.0, flow.prior);
    for (Level& level : levels_) {
        level.squeeze.forward(context, flow);
        for (auto& step : level.steps) {
            step->mixing.forward(context, flow);
            step->coupling.forward(context, flow);
        }
        if (level.split) {
            level.split->forward(context, flow);
            level.split->encode(context, flow);
        }
    }
    top_->forward(context, flow);
    top_->encode(context, flow);
}

void Glow::decode(const Context& context, Flow& flow) {
    top_->decode(context, flow);
    for (std::size_t l = levels_.size(); l-- > 0;) {
        Level& level = levels_[l];
        if (level.split) {
            level.split->decode(context, flow);
            level.split->inverse(context, flow);
        }
        for (std::size_t k = level.steps.size(); k-- > 0;) {
            level.steps[k]->coupling.inverse(context, flow);
            level.steps[k]->mixing.inverse(context, flow);
        }
        level.squeeze.inverse(context, flow);
    }
}

double Glow::bits_per_dim(double log_density) const {
    const double D = static_cast<double>(config_.dimensions());
    return config_.n_bits - log_density / (D * std::log(2.0));
}

}  // namespace glow::inline GLOW_REAL

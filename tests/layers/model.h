// A whole model with random parameters and N images.
#pragma once

#include <algorithm>
#include <limits>

#include "tests/layers/fixture.h"

namespace glow::inline GLOW_REAL {

inline ModelConfig make_config(index_t height, index_t width, index_t channels, index_t levels, index_t depth,
                               index_t hidden) {
    ModelConfig config;
    config.image_height = height;
    config.image_width = width;
    config.channels = channels;
    config.levels = levels;
    config.depth = depth;
    config.width = hidden;
    return config;
}

struct Model {
    Model(const ModelConfig& config, index_t N, const NetworkSettings& settings = {}, double logs_scale = 0.1,
          std::uint64_t seed = 3)
        : glow(config, settings),
          values(glow.parameters(), machine.backend.solver(), seed, logs_scale),
          x(Random(seed + 7).normals(N * config.dimensions(), 0.3)),
          h(x),
          dh(x.size(), std::numeric_limits<real>::quiet_NaN()),
          logdet(N, -1.0),
          prior(N, -1.0),
          bits_y(N, -1.0),
          error_y(N, -1.0),
          labels(N),
          flow{N, h.data(), logdet.data(), prior.data(), labels.data(), bits_y.data(), error_y.data()} {
        for (index_t n = 0; n < N && config.n_classes > 0; ++n)
            labels[n] = static_cast<std::int32_t>((n * n + 1) % config.n_classes);
        glow.allocate(machine.derived);
        prepare();
    }
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    void prepare() { ASSERT_EQ(glow.derive_and_check(machine.context).bad_layer, ""); }
    // h: x -> z; returns the sum of log p without the constant of the pixels' bins.
    double forward(SavedActivations* saved = nullptr) {
        h = x;
        glow.forward(machine.context, flow, saved);
        return sum(logdet) + sum(prior);
    }
    // h: z -> x, by the inverse of each layer.
    void inverse() {
        const Context& context = machine.context;
        glow.for_each_layer_backwards([&](Glow::Level& level) { level.split->inverse(context, flow); },
                                      [&](Glow::Level&, Glow::Step& step, index_t, index_t) {
                                          step.coupling.inverse(context, flow);
                                          step.mixing.inverse(context, flow);
                                      },
                                      [&](Glow::Level& level) { level.squeeze.inverse(context, flow); });
    }
    // The function that backward() differentiates.
    double loss(double dlogp) {
        const double logp = forward();
        return dlogp * logp + (glow.has_classifier() ? kBitsWeight * sum(bits_y) : 0.0);
    }
    // h: z -> reconstructed x; dh and the parameter gradients (+=) of dlogp * sum of log p + kBitsWeight *
    // sum of bits_y.
    void backward(const SavedActivations& saved, double dlogp) {
        Gradient gradient{dh.data(), dlogp, kBitsWeight, {values.gradient.data()}};
        glow.backward(machine.context, flow, gradient, saved);
    }
    // Forward and backward, starting from zero gradients.
    void run(const MemoryPolicy& policy, double dlogp = -0.7) {
        std::fill(values.gradient.begin(), values.gradient.end(), real{0});
        std::fill(dh.begin(), dh.end(), std::numeric_limits<real>::quiet_NaN());
        SavedActivations saved(machine.stored, policy);
        forward(&saved);
        backward(saved, dlogp);
    }

    static constexpr double kBitsWeight = 0.3;
    Machine machine;
    Glow glow;
    Values values;
    std::vector<double> x, h;
    std::vector<real> dh;
    std::vector<double> logdet, prior, bits_y, error_y;
    std::vector<std::int32_t> labels;
    Flow flow;
};

// log|det| of image n's Jacobian [D, D], from central differences of `transform` (forward or encode).
template <class Transform>
double jacobian_log_determinant(Model& model, index_t n, index_t D, Transform transform) {
    constexpr double e = 1e-5;
    std::vector<double> jacobian(D * D);
    const index_t N = model.flow.N;
    // Positions of image n's latents, part by part, each [N, part].
    std::vector<index_t> places;
    const auto& config = model.glow.config();
    for (index_t l = config.levels, offset = 0; l-- > 0;) {
        const Shape shape = level_shape(config, l);
        const index_t part = l + 1 == config.levels ? shape.size() : shape.size() / 2;
        for (index_t i = 0; i < part; ++i) places.push_back(offset + n * part + i);
        offset += N * part;
    }
    EXPECT_EQ(static_cast<index_t>(places.size()), D);
    const std::vector<double> x = model.x;
    const auto at = [&](index_t i, double value) {
        model.h = x;
        model.h[n * D + i] = value;
        transform();
        return model.h;
    };
    for (index_t i = 0; i < D; ++i) {
        const std::vector<double> plus = at(i, x[n * D + i] + e), minus = at(i, x[n * D + i] - e);
        for (index_t o = 0; o < D; ++o) jacobian[o * D + i] = (plus[places[o]] - minus[places[o]]) / (2 * e);
    }
    return log_abs_det(model.machine.backend.solver(), D, jacobian);
}

}  // namespace glow::inline GLOW_REAL

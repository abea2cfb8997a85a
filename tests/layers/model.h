// A whole model with random parameters and N images.
#pragma once

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
    Model(const ModelConfig& config, index_t N, const Execution& execution = {}, double logs_scale = 0.1,
          std::uint64_t seed = 3)
        : glow(config, execution),
          values(glow.parameters(), machine.backend.solver(), seed, logs_scale),
          x(Random(seed + 7).normals(N * config.dimensions(), 0.3)),
          h(x),
          dh(x.size(), std::numeric_limits<real>::quiet_NaN()),
          logdet(N, -1.0),
          prior(N, -1.0),
          flow{N, h.data(), logdet.data(), prior.data()} {
        glow.allocate(machine.derived);
        prepare();
    }
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    void prepare() { ASSERT_EQ(glow.prepare(machine.context).bad_layer, ""); }
    // h: x -> z; the sum of log p but for the pixels' constant.
    double forward(Kept* kept = nullptr) {
        h = x;
        glow.forward(machine.context, flow, kept);
        return sum(logdet) + sum(prior);
    }
    // h: z -> rebuilt x; dh and the parameters' gradients (+=) of dlogp * sum of log p.
    void backward(const Kept& kept, double dlogp) {
        Gradient gradient{dh.data(), dlogp};
        glow.backward(machine.context, flow, gradient, kept);
    }
    // Forward and backward from zero gradients.
    void run(const Keep& keep, double dlogp = -0.7) {
        std::fill(values.gradient.begin(), values.gradient.end(), real{0});
        std::fill(dh.begin(), dh.end(), std::numeric_limits<real>::quiet_NaN());
        Kept kept(machine.stored, keep);
        forward(&kept);
        backward(kept, dlogp);
    }

    Machine machine;
    Glow glow;
    Values values;
    std::vector<double> x, h;
    std::vector<real> dh;
    std::vector<double> logdet, prior;
    Flow flow;
};

}  // namespace glow::inline GLOW_REAL

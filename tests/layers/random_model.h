// Random models for property tests, covering shapes and options.
#pragma once

#include <fmt/format.h>

#include <string>

#include "layers/glow.h"
#include "tests/support.h"

namespace glow::inline GLOW_REAL {

struct RandomModel {
    ModelConfig config;
    index_t N, tile;  // images; images per tile, 0: default rule
    MemoryPolicy policy;

    std::string describe() const {
        return fmt::format(
            "{} images of {}x{}x{}, L {}, K {}, width {}, {}, {}, scale {}, edge {}, learn top {}, classes {}, "
            "weight_y "
            "{}, tile {}, anchor every {}, maps {}",
            N, config.image_height, config.image_width, config.channels, config.levels, config.depth,
            config.width, to_string(config.permutation), to_string(config.coupling),
            to_string(config.coupling_scale), config.edge_bias, config.learn_top, config.n_classes,
            config.weight_y, tile, policy.anchor_every, policy.maps);
    }
};

// Model number `seed`: images of at most `most` dimensions, 1 to 4 channels, 1 to 3 levels of 1 to 3 steps,
// hidden widths 1 to 9, and all options at random. Permutation and coupling cycle, so that any eight
// consecutive models cover all pairs.
inline RandomModel random_model(std::uint64_t seed, index_t most) {
    test::Random random(1000 + seed);
    RandomModel model{};
    ModelConfig& config = model.config;
    config.permutation = static_cast<Permutation>(seed % 4);
    config.coupling = static_cast<CouplingKind>(seed / 4 % 2);
    do {
        config.levels = random.integer(1, 3);
        const index_t cell = index_t{1} << config.levels;
        config.image_height = cell * random.integer(1, 3);
        config.image_width = cell * random.integer(1, 3);
        config.channels = random.integer(1, 4);
    } while (config.dimensions() > most);
    config.depth = random.integer(1, 3);
    config.width = random.integer(1, 9);
    config.n_bits = random.integer(1, 8);
    config.edge_bias = random.integer(0, 1) == 1;
    config.learn_top = random.integer(0, 1) == 1;
    config.y_cond = random.integer(0, 1) == 1;
    if (config.y_cond) {
        config.n_classes = random.integer(1, 4);
        config.weight_y = random.integer(0, 1) == 1 ? 0.3 : 0.0;
    }
    model.N = random.integer(1, 4);
    model.tile = random.integer(0, static_cast<int>(model.N));
    model.policy = {random.integer(0, 3), false};
    if (model.policy.anchor_every == 1) model.policy.maps = random.integer(0, 1) == 1;
    if (config.coupling == CouplingKind::affine)
        config.coupling_scale = static_cast<CouplingScale>(random.integer(0, 1));
    return model;
}

}  // namespace glow::inline GLOW_REAL

// One forward and backward run of a whole model behind an interface shared by float and double builds:
// whole_model_run.cpp is compiled once for each.
#pragma once

#include <string>
#include <vector>

#include "layers/config.h"

namespace glow {

struct ModelCase {
    ModelConfig config;
    index_t N = 1, tile = 0, anchor_every = 0;
    bool maps = false;
    Precision precision = Precision::fp32;
    int threads = 2;
    index_t first = 0;  // number of the first image in an endless series
};

struct ModelResult {
    struct Tensor {
        std::string name;
        std::vector<double> gradient;
    };
    std::vector<double> latents, rebuilt, logdet, prior, dx;
    std::vector<Tensor> tensors;
};

// Random parameters, equal in both and representable in float. Loss: -0.01 * sum of log p.
ModelResult run_model_f32(const ModelCase& probe);
ModelResult run_model_f64(const ModelCase& probe);

}  // namespace glow

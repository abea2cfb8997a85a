// The model's hyperparameters: the `config` of a checkpoint (spec section 3), validated here.
#pragma once

#include <string>

#include "kernels/base.h"

namespace glow {

enum class Permutation { invconv, invconv_lu, shuffle, reverse };
enum class CouplingKind { affine, additive };
enum class Precision { fp32, tf32, bf16 };

struct ModelConfig {
    index_t image_height = 32, image_width = 32, channels = 3;
    int n_bits = 8;
    index_t levels = 3, depth = 32, width = 512;  // L, K per level, hidden channels
    Permutation permutation = Permutation::invconv;
    CouplingKind coupling = CouplingKind::affine;
    bool edge_bias = true;
    bool learn_top = true;
    bool y_cond = false;
    index_t n_classes = 0;
    double weight_y = 0;

    index_t dimensions() const { return image_height * image_width * channels; }  // D
    bool operator==(const ModelConfig&) const = default;
};

// Shape of the feature maps of a level, after its squeeze.
struct Shape {
    index_t H, W, C;
    index_t pixels() const { return H * W; }
    index_t size() const { return H * W * C; }
};
Shape level_shape(const ModelConfig& config, index_t level);

// Throws InputError, naming the option, if a value is out of range or the image size does not fit the levels.
void check(const ModelConfig& config);

std::string to_string(Permutation permutation);
std::string to_string(CouplingKind coupling);
std::string to_string(Precision precision);
Permutation parse_permutation(const std::string& text);
CouplingKind parse_coupling(const std::string& text);
Precision parse_precision(const std::string& text);

}  // namespace glow

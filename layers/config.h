// The model's hyperparameters: the `config` of a checkpoint (docs/formats.md), validated here.
#pragma once

#include <string>

#include "kernels/base.h"
#include "kernels/coupling_scale.h"
#include "kernels/enum_names.h"

namespace glow {

enum class Permutation { invconv, invconv_lu, shuffle, reverse };
enum class CouplingKind { affine, additive };
enum class Precision { fp32, tf32, bf16 };
// Implementation of a coupling network's last convolution: matrix products by Context::blas, or a library
// convolution by Context::conv. It is the only 3x3 convolution of a wide map, so only here can a library
// avoid an extra pass over that map. The choice applies to forward, recomputation and both gradients.
enum class Engine { gemm, library };

template <>
struct EnumNames<Permutation> {
    static constexpr const char* what = "permutation";
    static constexpr EnumName<Permutation> values[] = {{Permutation::invconv, "invconv"},
                                                       {Permutation::invconv_lu, "invconv_lu"},
                                                       {Permutation::shuffle, "shuffle"},
                                                       {Permutation::reverse, "reverse"}};
};
template <>
struct EnumNames<CouplingKind> {
    static constexpr const char* what = "coupling";
    static constexpr EnumName<CouplingKind> values[] = {{CouplingKind::affine, "affine"},
                                                        {CouplingKind::additive, "additive"}};
};
template <>
struct EnumNames<CouplingScale> {
    static constexpr const char* what = "coupling scale";
    static constexpr EnumName<CouplingScale> values[] = {{CouplingScale::sigmoid, "sigmoid"},
                                                         {CouplingScale::tanh, "tanh"}};
};
template <>
struct EnumNames<Precision> {
    static constexpr const char* what = "precision";
    static constexpr EnumName<Precision> values[] = {
        {Precision::fp32, "fp32"}, {Precision::tf32, "tf32"}, {Precision::bf16, "bf16"}};
};
template <>
struct EnumNames<Engine> {
    static constexpr const char* what = "engine";
    static constexpr EnumName<Engine> values[] = {{Engine::gemm, "products"}, {Engine::library, "cudnn"}};
};

// How a coupling uses its network's output.
struct CouplingForm {
    CouplingKind kind = CouplingKind::affine;
    CouplingScale scale = CouplingScale::sigmoid;  // of an affine coupling

    bool affine() const { return kind == CouplingKind::affine; }
};

struct ModelConfig {
    index_t image_height = 32, image_width = 32, channels = 3;
    int n_bits = 8;
    index_t levels = 3, depth = 32, width = 512;  // L, K per level, hidden channels
    Permutation permutation = Permutation::invconv;
    CouplingKind coupling = CouplingKind::affine;
    CouplingScale coupling_scale = CouplingScale::sigmoid;
    bool edge_bias = true;
    bool learn_top = true;
    bool y_cond = false;
    index_t n_classes = 0;
    double weight_y = 0;
    index_t dequant_depth = 0;   // steps of flow of the variational dequantizer; 0: none
    index_t dequant_width = 32;  // hidden and condition channels of its networks

    CouplingForm coupling_form() const { return {coupling, coupling_scale}; }
    index_t dimensions() const { return image_height * image_width * channels; }  // D
    // The nats in one bit/dim: D ln 2.
    double nats_per_bit_dim() const;
    // Bits/dim of an image with this log p in nats, the bins of its pixels included.
    double bits_per_dim(double log_density) const;
    bool operator==(const ModelConfig&) const = default;
};

// visitor(name, member, help) for every field, in the order of the files. The name is the key in JSON; the
// option of the command line has dashes for underscores. No help: no option, the data set decides.
template <class Config, class Visitor>
void visit_model_options(Config& c, Visitor&& visitor) {
    visitor("image_height", c.image_height, nullptr);
    visitor("image_width", c.image_width, nullptr);
    visitor("channels", c.channels, nullptr);
    visitor("n_bits", c.n_bits, "Bits of the pixels that are modeled, 1..8");
    visitor("levels", c.levels, "Levels L");
    visitor("depth", c.depth, "Steps of flow per level, K");
    visitor("width", c.width, "Hidden channels of the coupling networks");
    visitor("permutation", c.permutation, "Channel mixing: invconv, invconv_lu, shuffle or reverse");
    visitor("coupling", c.coupling, "affine or additive");
    visitor("coupling_scale", c.coupling_scale,
            "sigmoid or tanh: an affine coupling's scale is sigmoid(h + 2) or exp(2 tanh(h / 2))");
    visitor("edge_bias", c.edge_bias, "3x3 convolutions see where the image ends");
    visitor("learn_top", c.learn_top, "Learned prior of the top latents");
    visitor("y_cond", c.y_cond, "Top prior by class; the data set must have labels");
    visitor("n_classes", c.n_classes, nullptr);
    visitor("weight_y", c.weight_y,
            "Weight of the classifier's cross-entropy (bits) in the loss; requires --y-cond; 0: none");
    visitor("dequant_depth", c.dequant_depth,
            "Steps of flow of the noise of --dequant variational; 0: none, or 4 with --dequant variational");
    visitor("dequant_width", c.dequant_width, "Hidden channels of the networks of --dequant variational");
}
// "edge-bias", the option of the field edge_bias.
std::string option_name(const char* field);

// Shape of the feature maps of a level, after its squeeze.
struct Shape {
    index_t H, W, C;
    index_t pixels() const { return H * W; }
    index_t size() const { return H * W * C; }
};
Shape level_shape(const ModelConfig& config, index_t level);

// Throws InputError, naming the option, if a value is out of range or the image size does not fit the levels.
void check(const ModelConfig& config);

}  // namespace glow

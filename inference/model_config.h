// A model's configuration as JSON, as stored in files of models, latents and compressed images.
#pragma once

#include <nlohmann/json.hpp>

#include "data/formats/image_size.h"
#include "layers/config.h"

namespace glow {

// The model's keys for `config` (docs/formats.md).
nlohmann::ordered_json to_json(const ModelConfig& model);
// Throws InputError, naming the key, for a missing key, wrong type or invalid value.
ModelConfig model_from_json(const nlohmann::ordered_json& config);

// A model accepts images of any height and width divisible by 2^L: no parameter depends on them. Its
// configuration holds the size of the training images.
ImageSize image_size(const ModelConfig& model);
// The model for images of another size. Throws InputError, naming the divisor, for a size that does not fit.
ModelConfig with_image_size(ModelConfig model, const ImageSize& size);
// Whether the configurations are equal except for the image size.
bool differ_in_image_size_only(ModelConfig a, const ModelConfig& b);
// "the model was trained on 32x32 images; these are 64x96", or empty if the sizes are equal.
std::string other_size_note(const ModelConfig& trained, const ImageSize& size);

}  // namespace glow

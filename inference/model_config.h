// A model's configuration as JSON, as stored in files of models, latents and compressed images.
#pragma once

#include <nlohmann/json.hpp>

#include "layers/config.h"

namespace glow {

// The model's keys for `config` (docs/formats.md).
nlohmann::ordered_json to_json(const ModelConfig& model);
// Throws InputError, naming the key, for a missing key, wrong type or invalid value.
ModelConfig model_from_json(const nlohmann::ordered_json& config);

}  // namespace glow

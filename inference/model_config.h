// A model's configuration as JSON: the keys that files of models, latents and compressed images hold.
#pragma once

#include <nlohmann/json.hpp>

#include "layers/config.h"

namespace glow {

// The model's keys of `config` (spec section 3).
nlohmann::ordered_json to_json(const ModelConfig& model);
// Throws InputError, naming the key, for a missing key, a wrong type or a bad value.
ModelConfig model_from_json(const nlohmann::ordered_json& config);

}  // namespace glow

// Fingerprint of a model, for files that only the model that wrote them can read.
#pragma once

#include <cstdint>

#include "inference/loaded_model.h"

namespace glow {

// FNV-1a of the model's shape, with the size of the images, and of the weights in use (EMA or raw).
std::uint64_t fingerprint(LoadedModel& model);

}  // namespace glow

// The settings of published runs by name, as starting points that --config and the command line override.
#pragma once

#include <string>
#include <vector>

#include "train/options.h"

namespace glow {

struct Preset {
    const char* name;
    const char* what;             // a line for --help
    double published_images = 0;  // images seen by the published run, if known
};

// All presets, in listing order.
const std::vector<Preset>& presets();

// A run's options with those of a preset applied. Throws InputError, listing the names, for an unknown name.
TrainingOptions preset_options(const std::string& name);

}  // namespace glow

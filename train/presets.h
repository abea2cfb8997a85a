// The settings of published runs, by name, as starting points: --config and the command line come after them.
#pragma once

#include <string>
#include <vector>

#include "train/options.h"

namespace glow {

struct Preset {
    const char* name;
    const char* what;
    double published_images = 0;  // that the published run saw, where that was told
};

// All of them, in the order in which they are listed.
const std::vector<Preset>& presets();

// A run's options with those of a preset set. InputError, listing the names, for one that is not there.
TrainingOptions preset_options(const std::string& name);

}  // namespace glow

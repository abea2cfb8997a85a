// The options of a training run, as command line and config.toml (tools/config_file.h) take them.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "train/options.h"

namespace glow {

// Adds the model's options and all of visit_training_options(). permutation and coupling are to be parsed by
// the caller. All must live as long as `app`.
void add_training_options(CLI::App& app, TrainingOptions& options, std::string& permutation,
                          std::string& coupling);

}  // namespace glow

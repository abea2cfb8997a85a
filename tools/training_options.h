// The options of a training run, for the command line and config.toml (tools/config_file.h).
#pragma once

#include <CLI/CLI.hpp>

#include "train/options.h"

namespace glow {

// Adds an option for each of visit_model_options() and visit_training_options(). `options` must outlive
// `app`.
void add_training_options(CLI::App& app, TrainingOptions& options);

}  // namespace glow

// The subcommands of glow_latent. encode and decode are in latent_files.cpp, NAME is in latent_NAME.cpp.
#pragma once

#include <filesystem>
#include <string>

#include "inference/latents.h"
#include "inference/loaded_model.h"
#include "tools/command_line.h"

namespace glow {

void add_encode(CommandLine& command);
void add_decode(CommandLine& command);
void add_reconstruct(CommandLine& command);
void add_interpolate(CommandLine& command);
void add_direction(CommandLine& command);
void add_manipulate(CommandLine& command);
void add_exchange(CommandLine& command);

// Warns if a file of latents or a direction was written with other weights: the model has the right shape, but
// its latents mean something else.
void warn_of_other_weights(const CommandLine& command, const LatentReader& latents, const std::string& file,
                           LoadedModel& model, const std::filesystem::path& checkpoint);

}  // namespace glow

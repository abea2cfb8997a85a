// The subcommands of glow_latent. encode and decode are in latent_files.cpp, NAME is in latent_NAME.cpp.
#pragma once

#include "tools/command_line.h"

namespace glow {

void add_encode(CommandLine& command);
void add_decode(CommandLine& command);
void add_reconstruct(CommandLine& command);
void add_interpolate(CommandLine& command);
void add_direction(CommandLine& command);
void add_manipulate(CommandLine& command);
void add_exchange(CommandLine& command);

}  // namespace glow

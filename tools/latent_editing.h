// The subcommands of glow_latent that change latents: interpolate, direction, manipulate, exchange.
#pragma once

#include "tools/command_line.h"

namespace glow {

void add_latent_editing(CommandLine& command);

}  // namespace glow

// glow_latent: converts images to latents and back, measures what each level holds, and edits latents.
#include "tools/command_line.h"
#include "tools/latent_commands.h"

int main(int argc, char** argv) {
    return glow::run_tool(
        argc, argv, "Encodes images to latents of a trained Glow, edits latents, and decodes them.",
        [](glow::CommandLine& command) {
            command.examples(
                "glow_latent reconstruct --checkpoint runs/quick --data datasets/cifar10.h5 -o levels.png\n"
                "glow_latent interpolate --checkpoint runs/quick --data datasets/cifar10.h5 --images 0,1 -o between.png");
            glow::add_encode(command);
            glow::add_decode(command);
            glow::add_reconstruct(command);
            glow::add_interpolate(command);
            glow::add_direction(command);
            glow::add_manipulate(command);
            glow::add_exchange(command);
        });
}

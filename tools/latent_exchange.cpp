// exchange: exchanges the latents of each level between two images.
#include <memory>

#include "kernels/error.h"
#include "tools/edit_images.h"
#include "tools/latent_commands.h"

namespace glow {
namespace {

// Two rows: each image, then its versions with the latents of one level taken from the other image.
void exchange(const CommandLine& command, const EditOptions& options) {
    const OutputFiles outputs = options.claim_outputs(command);
    EditInput input(command, options);
    if (input.N() != 2) throw InputError("exchange needs 2 images: --images A,B or --files A.png B.png");
    const index_t L = input.config().levels;
    EditedLatents edited;
    edited.grid = {2, L + 1};
    edited.headings = {"image"};
    for (index_t level = 0; level < L; ++level) edited.headings.push_back(fmt::format("level {}", level));
    check_sheet(options, input, edited.grid, edited.headings);
    const std::vector<Latent> given = input.encode();
    for (const index_t n : {0, 1}) {
        edited.add(given[n], input.label(n));
        for (index_t level = 0; level < L; ++level) {
            edited.add(given[n], input.label(n));
            take_level(input.config(), level, given[1 - n], edited.latents.back());
        }
    }
    write_edited(command, options, input, edited, {{"levels", L}});
}

}  // namespace

void add_exchange(CommandLine& command) {
    const auto options = std::make_shared<EditOptions>();
    CLI::App* const app =
        command.subcommand("exchange", "Exchange the latents of each level between two images",
                           [&command, options] { exchange(command, *options); });
    add_edit_options(*app, *options);
    app->get_option("--images")->description("Indices of two images, separated by a comma");
}

}  // namespace glow

// interpolate: interpolates between images.
#include <memory>

#include "kernels/error.h"
#include "tools/edit_images.h"
#include "tools/latent_commands.h"
#include "tools/numbers.h"

namespace glow {

enum class InterpolationPath { spherical, linear };
template <>
struct Names<InterpolationPath> {
    static constexpr const char* what = "path";
    static constexpr NamedValue<InterpolationPath> values[] = {{InterpolationPath::spherical, "spherical"},
                                                               {InterpolationPath::linear, "linear"}};
};

namespace {

struct Options : EditOptions {
    InterpolationPath path = InterpolationPath::spherical;
};

void interpolate(const CommandLine& command, const Options& options) {
    const OutputFiles outputs = options.claim_outputs(command);
    EditInput input(command, options);
    const index_t N = input.N(), S = options.steps;
    if (N < 2 || S < 2)
        throw InputError("interpolate needs 2 images, or 4 for the corners of a grid, and 2 --steps");
    const auto between = options.path == InterpolationPath::linear ? between_linear : between_spherical;
    const std::vector<Latent> ends = input.encode();
    const auto part = [&](index_t i) { return static_cast<double>(i) / static_cast<double>(S - 1); };
    EditedLatents edited;
    edited.grid = {N == 4 ? S : N - 1, S};
    if (N == 4) {
        for (index_t row = 0; row < S; ++row) {
            const Latent left = between(ends[0], ends[2], part(row)),
                         right = between(ends[1], ends[3], part(row));
            for (index_t i = 0; i < S; ++i) {
                const index_t nearest_corner = (2 * row < S ? 0 : 2) + (2 * i < S ? 0 : 1);
                edited.add(between(left, right, part(i)), input.label(nearest_corner));
            }
        }
    } else {
        for (index_t n = 0; n + 1 < N; ++n)
            for (index_t i = 0; i < S; ++i)
                edited.add(between(ends[n], ends[n + 1], part(i)), input.label(2 * i < S ? n : n + 1));
    }
    write_edited(command, options, input, edited, {{"path", to_string(options.path)}});
}

}  // namespace

void add_interpolate(CommandLine& command) {
    const auto options = std::make_shared<Options>();
    CLI::App* const app = command.subcommand(
        "interpolate", "Interpolate between images: a chain, or 4 as the corners of a grid",
        [&command, options] { interpolate(command, *options); });
    add_edit_options(*app, *options);
    add_steps(*app, *options);
    add_choice(*app, "--path", options->path, "spherical (constant length) or linear");
}

}  // namespace glow

// interpolate: interpolates between images.
#include <memory>
#include <optional>

#include "inference/sample_health.h"
#include "kernels/error.h"
#include "tools/edit_images.h"
#include "tools/latent_commands.h"
#include "tools/numbers.h"

namespace glow {

enum class InterpolationPath { spherical, linear };
template <>
struct EnumNames<InterpolationPath> {
    static constexpr const char* what = "path";
    static constexpr EnumName<InterpolationPath> values[] = {{InterpolationPath::spherical, "spherical"},
                                                             {InterpolationPath::linear, "linear"}};
};

namespace {

struct InterpolateOptions : EditOptions {
    std::optional<InterpolationPath> path;  // none: spherical, or linear if that overflows
};

GridSize grid_between(index_t N, index_t steps) {
    return {N == 4 ? steps : N - 1, steps};
}

EditedLatents images_between(const EditInput& input, const std::vector<Latent>& ends, index_t S,
                             InterpolationPath path) {
    const auto between = path == InterpolationPath::linear ? between_linear : between_spherical;
    const index_t N = std::ssize(ends);
    const auto part = [&](index_t i) { return static_cast<double>(i) / static_cast<double>(S - 1); };
    EditedLatents edited;
    edited.grid = grid_between(N, S);
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
    return edited;
}

void interpolate(const CommandLine& command, const InterpolateOptions& options) {
    const OutputFiles outputs = options.claim_outputs(command);
    EditInput input(command, options);
    if (input.N() < 2)
        throw InputError(
            "interpolate needs at least 2 images (4 are the corners of a grid): --images A,B or --files A.png B.png");
    if (options.steps < 2) throw InputError("--steps: interpolate needs at least 2");
    check_sheet(options, input, grid_between(input.N(), options.steps));
    const std::vector<Latent> ends = input.encode();
    InterpolationPath path = options.path.value_or(InterpolationPath::spherical);
    EditedLatents edited = images_between(input, ends, options.steps, path);
    if (!options.path) {
        // The inverse of an undertrained model overflows away from images. A chord's middle is closer to the
        // mean, where it overflows less.
        const SampleHealth found = decode(command, input, edited);
        EditedLatents chords;
        if (found.not_finite > 0)
            chords = images_between(input, ends, options.steps, InterpolationPath::linear);
        if (found.not_finite > 0 && decode(command, input, chords).not_finite < found.not_finite) {
            command.warn(
                "{} of {} images on the spherical path are not finite, as often with too little training: "
                "using the linear path (--path spherical keeps the spherical one)",
                found.not_finite, found.of);
            path = InterpolationPath::linear;
            edited = std::move(chords);
        }
    }
    write_edited(command, options, input, edited, {{"path", to_string(path)}});
}

}  // namespace

void add_interpolate(CommandLine& command) {
    const auto options = std::make_shared<InterpolateOptions>();
    CLI::App* const app = command.subcommand(
        "interpolate", "Interpolate between images: a chain, or 4 as the corners of a grid",
        [&command, options] { interpolate(command, *options); });
    add_edit_options(*app, *options);
    app->get_option("--images")->description("Indices of two or more images, separated by commas");
    add_steps(*app, *options);
    add_choice(*app, "--path", options->path,
               "spherical (constant length) or linear; default: spherical, or linear if that is not finite");
}

}  // namespace glow

// manipulate: moves images along a latent direction.
#include <algorithm>
#include <cmath>
#include <memory>

#include "inference/message_text.h"
#include "kernels/error.h"
#include "tools/edit_images.h"
#include "tools/latent_commands.h"
#include "tools/numbers.h"

namespace glow {
namespace {

struct ManipulateOptions : EditOptions {
    std::string direction, alpha = "-1..1", levels, temperature;
};

// "-1..1" in `steps` values, or "-1,0,2".
std::vector<double> parse_alphas(const ManipulateOptions& options) {
    const std::string& text = options.alpha;
    const index_t steps = options.steps;
    const std::size_t dots = text.find("..");
    if (dots == std::string::npos) {
        if (options.steps_given)
            throw InputError(
                fmt::format("--steps needs --alpha A..B, whose values it counts; found {}", text));
        const std::vector<double> alphas = parse_numbers("--alpha", text, -1e3, 1e3);
        if (alphas.empty()) throw InputError("--alpha: a number is missing");
        return alphas;
    }
    const double first = parse_number("--alpha", text.substr(0, dots), -1e3, 1e3),
                 last = parse_number("--alpha", text.substr(dots + 2), -1e3, 1e3);
    std::vector<double> alphas;
    for (index_t i = 0; i < steps; ++i) {
        const double alpha =
            steps == 1 ? first
                       : first + (last - first) * static_cast<double>(i) / static_cast<double>(steps - 1);
        // -0.1 to 0.1 in six steps has 1.4e-17 in its middle.
        const bool rounded_zero = std::abs(alpha) < 1e-9 * std::max(std::abs(first), std::abs(last));
        alphas.push_back(rounded_zero ? 0 : alpha);
    }
    return alphas;
}

Latent read_direction(const CommandLine& command, const ManipulateOptions& options, EditInput& input) {
    const ModelConfig& model = input.config();
    Latent direction(static_cast<std::size_t>(model.dimensions()), 0.0);
    if (options.direction.empty()) return direction;
    const LatentReader reader(options.direction);
    if (reader.images() != 1)
        throw InputError(fmt::format("{}: not a direction but a file of {}; glow_latent direction makes one",
                                     options.direction, counted(reader.images(), "latent")));
    if (!(reader.model() == model))
        throw InputError(fmt::format(
            "{}: not a direction for this model and images of {}x{}; found one for {}x{}", options.direction,
            model.image_height, model.image_width, reader.model().image_height, reader.model().image_width));
    warn_of_other_weights(command, reader, options.direction, input.model(), input.checkpoint());
    Flow flow;
    flow.N = 1;
    flow.h = direction.data();
    reader.read(0, flow);
    if (options.levels.empty()) return direction;
    Latent chosen(direction.size(), 0.0);
    for (const index_t level : parse_numbers<index_t>("--levels", options.levels, 0, model.levels - 1))
        take_level(model, level, direction, chosen);
    return chosen;
}

void manipulate(const CommandLine& command, const ManipulateOptions& options) {
    const OutputFiles outputs = options.claim_outputs(command, {{"--direction", options.direction}});
    if (options.direction.empty() && options.temperature.empty())
        throw InputError("manipulate needs --direction, --level-temperature or both");
    const std::vector<double> alphas =
        options.direction.empty() ? std::vector<double>{0} : parse_alphas(options);
    EditInput input(command, options);
    const Latent along = read_direction(command, options, input);
    const std::vector<double> temperature =
        parse_numbers("--level-temperature", options.temperature, 0.0, 100.0);
    if (!temperature.empty() && std::ssize(temperature) != input.config().levels)
        throw InputError(
            fmt::format("--level-temperature: expected {1} numbers, one for each level of the model, got {0}",
                        temperature.size(), input.config().levels));
    EditedLatents edited;
    edited.grid = {input.N(), std::ssize(alphas)};
    if (!options.direction.empty())
        for (const double alpha : alphas) edited.headings.push_back(fmt::format("{:.3g}", alpha));
    check_sheet(options, input, edited.grid, edited.headings);
    const std::vector<Latent> given = input.encode();
    for (index_t n = 0; n < input.N(); ++n)
        for (const double alpha : alphas) {
            Latent latent = given[n];
            if (!temperature.empty()) scale_levels(input.config(), temperature, latent);
            for (std::size_t i = 0; i < latent.size(); ++i) latent[i] += alpha * along[i];
            edited.add(std::move(latent), input.label(n));
        }
    write_edited(command, options, input, edited, {{"alpha", alphas}});
}

}  // namespace

void add_manipulate(CommandLine& command) {
    const auto options = std::make_shared<ManipulateOptions>();
    CLI::App* const app = command.subcommand("manipulate", "Move images along a direction, one row each",
                                             [&command, options] { manipulate(command, *options); });
    add_edit_options(*app, *options);
    CLI::Option* const steps = add_steps(*app, *options);
    CLI::Option* const direction = app->add_option("--direction", options->direction, "File of a direction");
    steps->needs(direction);
    app->add_option("--alpha", options->alpha,
                    "Distances: A..B in --steps values, or numbers separated by commas")
        ->needs(direction);
    app->add_option("--levels", options->levels, "Levels to change, separated by commas; default: all")
        ->needs(direction);
    app->add_option("--level-temperature", options->temperature,
                    "Factors of the latents, one per level, level 0 (the finest) first");
}

}  // namespace glow

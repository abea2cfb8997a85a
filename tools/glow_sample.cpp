// glow_sample: images from a trained model.
#include <memory>

#include "data/formats/decimal.h"
#include "data/formats/output_name.h"
#include "data/grid.h"
#include "inference/loaded_model.h"
#include "inference/sample.h"
#include "inference/sample_health.h"
#include "inference/sample_sheet.h"
#include "kernels/error.h"
#include "layers/config.h"
#include "runtime/context.h"
#include "tools/command_line.h"
#include "tools/model_options.h"
#include "tools/numbers.h"
#include "tools/output_files.h"
#include "tools/progress.h"

namespace {

using namespace glow;

struct Options {
    ModelOptions model;
    std::string grid = "8x8", temperatures = "0.7", classes, output;
    std::uint64_t seed = 0;
};

std::vector<double> parse_temperatures(const std::string& text) {
    const std::vector<double> temperatures = parse_numbers("--temperature", text, 0.0, 100.0);
    if (temperatures.empty()) throw InputError("--temperature: a number is missing");
    if (temperatures.size() > 16) throw InputError("--temperature: expected at most 16 values");
    return temperatures;
}

// The class of every sample: one for all, or one per column of the sheet. Empty if not conditional.
std::vector<std::int32_t> sample_classes(const std::string& text, const ModelConfig& model,
                                         const GridSize& grid) {
    if (!model.y_cond) {
        if (!text.empty())
            throw InputError(fmt::format("--class {}: the model is not conditional on classes", text));
        return {};
    }
    if (text.empty() || text == "all") return column_classes(grid.tiles(), grid.columns, model.n_classes);
    index_t label = 0;
    if (parse_decimal(text, label) != std::errc() || label < 0 || label >= model.n_classes)
        throw InputError(
            fmt::format("--class {}: expected all, or a class 0..{}", text, model.n_classes - 1));
    return std::vector<std::int32_t>(static_cast<std::size_t>(grid.tiles()),
                                     static_cast<std::int32_t>(label));
}

void run(const CommandLine& command, const Options& options) {
    const std::vector<double> temperatures = parse_temperatures(options.temperatures);
    const GridSize grid = parse_grid(options.grid);
    const OutputFiles outputs(command, {{"--checkpoint", options.model.checkpoint}},
                              {{"--output", options.output}});
    require_png_name(options.output);
    const Backend backend = options.model.open_backend(command);
    const auto checkpoint = find_checkpoint(options.model.checkpoint);
    LoadedModel loaded = options.model.load(command, checkpoint, image_size(options.model.config(checkpoint)),
                                            grid.tiles(), backend);
    const ModelConfig& model = loaded.config();
    const auto panel = [&](double temperature, const std::uint8_t* pixels, index_t images) {
        return Panel{
            temperatures.size() > 1 ? fmt::format("T = {:g}", temperature) : "",
            tile_images(pixels, images, model.image_height, model.image_width, model.channels, grid)};
    };
    const std::vector<std::int32_t> classes = sample_classes(options.classes, model, grid);
    // Compute the sheet size first, to reject one that is too large before sampling.
    std::vector<Panel> panels;
    for (const double temperature : temperatures) panels.push_back(panel(temperature, nullptr, 0));
    side_by_side(panels);

    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(grid.tiles() * model.dimensions()));
    std::vector<double> largest(static_cast<std::size_t>(grid.tiles()));
    std::vector<index_t> not_finite, out_of_range;
    const index_t all = grid.tiles() * std::ssize(panels);
    ProgressLine progress(command, "images");
    for (std::size_t i = 0; i < panels.size(); ++i) {
        const index_t before = static_cast<index_t>(i) * grid.tiles();
        sample(loaded.runnable(),
               {.count = grid.tiles(),
                .temperature = temperatures[i],
                .seed = options.seed,
                .labels = classes.empty() ? nullptr : classes.data(),
                .progress = [&](index_t done) { progress.show(before + done, all); }},
               pixels.data(), largest.data());
        const SampleHealth found = cross_out_not_finite(model, grid.tiles(), largest.data(), pixels.data());
        not_finite.push_back(found.not_finite);
        out_of_range.push_back(found.out_of_range);
        if (found.any())
            command.warn("samples at temperature {:g}: {}; use a lower --temperature or train longer",
                         temperatures[i], found.text());
        panels[i] = panel(temperatures[i], pixels.data(), grid.tiles());
    }
    write_png(options.output, side_by_side(panels));
    command.result(options.output, {{"output", options.output},
                                    {"images", all},
                                    {"temperatures", temperatures},
                                    {"not_finite", not_finite},
                                    {"out_of_range", out_of_range},
                                    {"checkpoint", checkpoint.string()},
                                    {"weights", loaded.used_ema() ? "ema" : "raw"}});
}

}  // namespace

int main(int argc, char** argv) {
    return run_tool(argc, argv, "Samples images from a trained Glow.", [](CommandLine& command) {
        const auto options = std::make_shared<Options>();
        CLI::App& app = command.app();
        command.examples(
            "glow_sample --checkpoint runs/quick --grid 8x8 -o samples.png\n"
            "glow_sample --checkpoint runs/quick --temperature 0.5,0.7,1 -o temperatures.png");
        add_model_options(app, options->model);
        app.option_defaults()->group("Samples");
        app.add_option("--grid", options->grid, "Rows x columns");
        add_size(app, options->model,
                 "Size of the images, HxW, divisible by 2^levels; default: that of the training images");
        app.add_option("--temperature", options->temperatures,
                       "Temperatures separated by commas, one panel each");
        app.add_option("--class", options->classes,
                       "For conditional models: a class, or all for one class per column (default)")
            ->default_str("");
        app.add_option(
               "-o,--output", options->output,
               "Picture to write, NAME.png. For models with fewer than 8 bits, pixels are the lower edges of their "
               "bins: white is 128 at 1 bit")
            ->required();
        add_seed(app, options->seed, "Seed of the samples");
        command.action([&command, options] { run(command, *options); });
    });
}

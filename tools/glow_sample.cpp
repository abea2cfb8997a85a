// glow_sample: images from a trained model.
#include <memory>

#include "kernels/error.h"
#include "tools/command_line.h"
#include "tools/thread_policy.h"
#include "train/data/grid.h"
#include "train/inference.h"

namespace {

using namespace glow;

struct Options {
    std::string checkpoint, grid = "8x8", output, precision = "fp32", device = "auto";
    std::vector<double> temperatures = {0.7};
    bool no_ema = false;
    std::uint64_t seed = 0;
    int threads = 0;
};

void run(const CommandLine& command, const Options& options) {
    if (options.device != "auto" && options.device != "cpu")
        throw InputError("--device " + options.device + ": this build has no such device; use --device cpu");
    for (const double temperature : options.temperatures)
        if (!(temperature >= 0 && temperature <= 100))
            throw InputError(fmt::format("--temperature {}: it must be between 0 and 100", temperature));
    const GridSize grid = parse_grid(options.grid);
    const Backend backend(Device::cpu, options.threads);
    const auto checkpoint = find_checkpoint(options.checkpoint);
    LoadedModel loaded(checkpoint, !options.no_ema, parse_precision(options.precision),
                       std::min<index_t>(64, grid.tiles()), backend);
    const ModelConfig& model = loaded.glow().config();

    std::vector<Panel> panels;
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(grid.tiles() * model.dimensions()));
    for (const double temperature : options.temperatures) {
        sample(loaded.context(), loaded.glow(), loaded.buffers(), 0, grid.tiles(), temperature, options.seed,
               pixels.data());
        panels.push_back({options.temperatures.size() > 1 ? fmt::format("T = {:g}", temperature) : "",
                          tile_images(pixels.data(), grid.tiles(), model.image_height, model.image_width,
                                      model.channels, grid)});
    }
    write_png(options.output, side_by_side(panels));
    command.result(options.output, {{"output", options.output},
                                    {"images", grid.tiles() * static_cast<index_t>(panels.size())},
                                    {"temperatures", options.temperatures},
                                    {"checkpoint", checkpoint.string()},
                                    {"weights", loaded.used_ema() ? "ema" : "raw"}});
}

}  // namespace

int main(int argc, char** argv) {
    wait_without_spinning(argv);
    return run_tool(argc, argv, "Samples images from a trained Glow.", [](CommandLine& command) {
        const auto options = std::make_shared<Options>();
        CLI::App& app = command.app();
        app.add_option("--checkpoint", options->checkpoint, "Checkpoint file or run folder")->required();
        app.add_option("--grid", options->grid, "Rows x columns");
        app.add_option("--temperature", options->temperatures,
                       "Temperatures, separated by commas; several stand side by side")
            ->delimiter(',')
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
        app.add_option("-o,--output", options->output, "PNG file")->required();
        app.add_flag("--no-ema", options->no_ema, "Raw weights instead of their running average");
        app.add_option("--precision", options->precision, "fp32 or bf16: precision of the coupling networks");
        app.add_option("--device", options->device, "auto or cpu");
        app.add_option("--threads", options->threads, "Threads; 0: all processors")
            ->check(CLI::Range(0, 4096));
        app.add_option("--seed", options->seed, "Seed of the samples");
        command.action([&command, options] { run(command, *options); });
    });
}

// reconstruct: measures how much of the images the deepest levels hold.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "data/formats/output_name.h"
#include "data/grid.h"
#include "tools/dataset_encoding.h"
#include "tools/latent_commands.h"
#include "tools/output_files.h"
#include "tools/progress.h"

namespace glow {
namespace {

struct ReconstructOptions {
    ModelOptions model;
    DataOptions data;
    std::string output;
    index_t show = 8;
};

// Difference between decoded and true pixels, in gray levels.
struct PixelError {
    double sum = 0;
    index_t values = 0, wrong = 0;
    int largest = 0;
    void add(const std::uint8_t* decoded, const std::uint8_t* truth, index_t count, int n_bits) {
        for (index_t i = 0; i < count; ++i) {
            const int difference = std::abs(decoded[i] - (truth[i] >> (8 - n_bits) << (8 - n_bits)));
            sum += difference;
            wrong += difference != 0;
            largest = std::max(largest, difference);
        }
        values += count;
    }
    double mean() const { return sum / static_cast<double>(values); }
};

// Decodes only the latents of levels `deepest .. lowest`; lower levels are at their mean (eps = 0).
struct Cut {
    index_t kept;  // number of leading latents of an image that are kept
    std::string name;
    PixelError error;
    std::vector<std::uint8_t> shown;  // first images, decoded
};

std::vector<Cut> cuts_of(const ModelConfig& config) {
    const std::vector<LatentLevel> levels = latent_levels(config);
    std::vector<Cut> cuts;
    for (std::size_t kept = levels.size(); kept > 0; --kept) {
        const bool all = kept == levels.size();
        const index_t lowest = levels[kept - 1].level, top = config.levels - 1;
        const std::string name = all         ? "all latents"
                                 : kept == 1 ? fmt::format("level {}", top)
                                             : fmt::format("levels {}-{}", lowest, top);
        cuts.push_back({all ? config.dimensions() : levels[kept].offset, name, {}, {}});
    }
    return cuts;
}

void decode_cuts(const CommandLine& command, DatasetEncoding& encoding, index_t shown,
                 std::vector<Cut>& cuts) {
    const ModelConfig& config = encoding.model.glow().config();
    const index_t D = config.dimensions();
    ProgressLine progress(command, "images");
    std::vector<std::uint8_t> pixels;
    std::vector<double> eps;
    encoding.each_batch([&](index_t first, Flow& flow) {
        eps.assign(flow.h, flow.h + flow.N * D);
        pixels.resize(eps.size());
        for (Cut& cut : cuts) {
            std::copy(eps.begin(), eps.end(), flow.h);
            std::fill(flow.h + flow.N * cut.kept, flow.h + flow.N * D, 0.0);
            decode_images(encoding.model, flow, pixels.data());
            cut.error.add(pixels.data(), encoding.set.image(first), flow.N * D, config.n_bits);
            for (index_t n = 0; n < flow.N && first + n < shown; ++n)
                cut.shown.insert(cut.shown.end(), pixels.begin() + n * D, pixels.begin() + (n + 1) * D);
        }
        progress.show(first + flow.N, encoding.set.N);
    });
}

// Columns of the picture: the data set's images, then one per cut.
void write_sheet(const std::string& output, const ImageSet& set, index_t shown,
                 const std::vector<Cut>& cuts) {
    const auto panel = [&](const std::string& label, const std::uint8_t* images) {
        return Panel{label, tile_images(images, shown, set.H, set.W, set.C, {shown, 1})};
    };
    std::vector<Panel> panels = {panel("image", set.image(0))};
    for (const Cut& cut : cuts) panels.push_back(panel(cut.name, cut.shown.data()));
    write_png(output, side_by_side(panels));
}

void reconstruct(const CommandLine& command, const ReconstructOptions& options) {
    std::vector<NamedPath> files;
    if (!options.output.empty()) files.push_back({"--output", options.output});
    const OutputFiles outputs(
        command, {{"--checkpoint", options.model.checkpoint}, {"--data", options.data.data}}, files);
    if (!options.output.empty()) require_png_name(options.output);
    DatasetEncoding encoding(command, options.model, options.data);
    const index_t shown = std::min(options.show, encoding.set.N);
    std::vector<Cut> cuts = cuts_of(encoding.model.glow().config());
    decode_cuts(command, encoding, shown, cuts);
    if (!options.output.empty()) write_sheet(options.output, encoding.set, shown, cuts);

    std::string text;
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const Cut& cut : cuts) {
        const PixelError& error = cut.error;
        const double share = static_cast<double>(cut.kept) / static_cast<double>(cuts[0].kept);
        text += fmt::format(
            "{}{:<13} ({:>3.0f}% of them): {} of {} values wrong, mean error {:.3f}, largest {} gray levels",
            text.empty() ? "" : "\n", cut.name, 100 * share, error.wrong, error.values, error.mean(),
            error.largest);
        rows.push_back({{"latents", cut.name},
                        {"share", share},
                        {"wrong_values", error.wrong},
                        {"values", error.values},
                        {"mean_error", error.mean()},
                        {"max_error", error.largest}});
    }
    if (!options.output.empty()) text += "\n" + options.output;
    command.result(text, {{"images", encoding.set.N},
                          {"max_error", cuts[0].error.largest},
                          {"wrong_values", cuts[0].error.wrong},
                          {"kept", rows},
                          {"output", options.output},
                          {"checkpoint", encoding.checkpoint.string()}});
}

}  // namespace

void add_reconstruct(CommandLine& command) {
    const auto options = std::make_shared<ReconstructOptions>();
    CLI::App* const app = command.subcommand(
        "reconstruct", "Encode and decode images using all levels, or only the deepest ones",
        [&command, options] { reconstruct(command, *options); });
    add_model_options(*app, options->model);
    add_data_options(*app, options->data, true);
    add_size(*app, options->model, kPhotoSize);
    CLI::Option* const output = app->add_option("-o,--output", options->output,
                                                "Picture of the first images, level by level, NAME.png");
    app->add_option("--show", options->show, "Images in the picture")
        ->check(CLI::Range(1, 64))
        ->needs(output);
}

}  // namespace glow

// glow_latent: images to latents and back, what each level of the latents holds, and edits in between
// (tools/latent_editing.cpp).
#include <algorithm>
#include <cmath>
#include <memory>

#include "kernels/error.h"
#include "runtime/device.h"
#include "tools/command_line.h"
#include "tools/latent_editing.h"
#include "tools/output_files.h"
#include "tools/progress.h"
#include "data/grid.h"
#include "data/formats/output_name.h"
#include "inference/latent_images.h"

namespace {

using namespace glow;

struct Options {
    std::string checkpoint, data, split = "test", latents, output, precision = "fp32", device = "auto";
    bool no_ema = false;
    index_t limit = 0, batch = 64, show = 8;
    int threads = 0;
};

LoadedModel load(const Options& options, const Backend& backend, const std::filesystem::path& checkpoint,
                 index_t images) {
    return LoadedModel(checkpoint, !options.no_ema, parse_precision(options.precision),
                       std::min(options.batch, images), backend);
}

// Images of the data set, and the model they are to pass.
struct Encoding {
    Encoding(const CommandLine& command, const Options& options)
        : backend(open_backend(command, parse_device(options.device), options.threads)),
          checkpoint(find_checkpoint(options.checkpoint)),
          set(fitting_split(options, checkpoint)),
          model(load(options, backend, checkpoint, set.N)) {}

    static ImageSet fitting_split(const Options& options, const std::filesystem::path& checkpoint) {
        require_fitting(options.data, describe_dataset(options.data), options.split, checkpoint,
                        read_checkpoint_info(checkpoint).model);
        return load_split(options.data, options.split, options.limit > 0 ? options.limit : -1);
    }
    // f(first image, flow in host memory whose h holds the eps of some images), batch by batch.
    template <class F>
    void each_batch(F f) {
        std::vector<state_t> eps;
        for (index_t first = 0; first < set.N; first += model.buffers().capacity) {
            const index_t count = std::min(model.buffers().capacity, set.N - first);
            const std::int32_t* const labels = set.labels.empty() ? nullptr : set.labels.data() + first;
            eps.resize(static_cast<std::size_t>(count * model.glow().config().dimensions()));
            encode_images(model, count, set.image(first), labels, eps.data());
            Flow here;
            here.N = count;
            here.h = eps.data();
            here.labels = labels;
            f(first, here);
        }
    }

    Backend backend;
    std::filesystem::path checkpoint;
    ImageSet set;
    LoadedModel model;
};

std::vector<NamedPath> inputs_of(const Options& options) {
    return {{"--checkpoint", options.checkpoint}, {"--data", options.data}, {"--latents", options.latents}};
}

void encode(const CommandLine& command, const Options& options) {
    const OutputFiles outputs(command, inputs_of(options), {{"--output", options.output}});
    refuse_picture_name(options.output, "an HDF5 file of latents");
    Encoding encoding(command, options);
    LatentWriter writer(options.output, encoding.model.info().config, encoding.model.info().model);
    ProgressLine progress(command, "images");
    encoding.each_batch([&](index_t first, const Flow& flow) {
        writer.append(flow);
        progress.show(first + flow.N, encoding.set.N);
    });
    writer.commit();
    command.result(fmt::format("{}: latents of {} {} images", options.output, encoding.set.N, options.split),
                   {{"output", options.output},
                    {"images", encoding.set.N},
                    {"split", options.split},
                    {"checkpoint", encoding.checkpoint.string()}});
}

// Where decoded images go: /images of an HDF5 file, or a folder of PNG files.
class ImageSink {
  public:
    ImageSink(const std::string& output, const ModelConfig& model) : output_(output), model_(model) {
        if (is_hdf5_name(output)) {
            atomic_.emplace(output);
            file_.emplace(Hdf5File::create(atomic_->temporary(), output));
            file_->create_growing<std::uint8_t>("/images",
                                                {model.image_height, model.image_width, model.channels});
            return;
        }
        std::error_code failed;
        std::filesystem::create_directories(output, failed);
        if (failed)
            throw InputError(fmt::format("{}: the folder cannot be made: {}", output, failed.message()));
        { const AtomicFile writable(std::filesystem::path(output) / "000000.png"); }
    }
    void append(const std::vector<std::uint8_t>& pixels, index_t count) {
        if (file_) {
            file_->append<std::uint8_t>("/images", count, pixels.data());
            return;
        }
        const index_t D = model_.dimensions();
        for (index_t n = 0; n < count; ++n)
            write_png(std::filesystem::path(output_) / fmt::format("{:06d}.png", done_++),
                      {model_.image_height,
                       model_.image_width,
                       model_.channels,
                       {pixels.begin() + n * D, pixels.begin() + (n + 1) * D}});
    }
    void commit() {
        if (!file_) return;
        file_->close();
        atomic_->commit();
    }

  private:
    std::string output_;
    ModelConfig model_;
    std::optional<AtomicFile> atomic_;
    std::optional<Hdf5File> file_;
    index_t done_ = 0;
};

void decode(const CommandLine& command, const Options& options) {
    std::vector<NamedPath> files;
    if (is_hdf5_name(options.output)) files.push_back({"--output", options.output});
    OutputFiles outputs(command, inputs_of(options), files);
    refuse_picture_name(options.output, "a folder of PNG files");
    if (files.empty()) outputs.add_folder({"--output", options.output});
    const Backend backend = open_backend(command, parse_device(options.device), options.threads);
    const auto checkpoint = find_checkpoint(options.checkpoint);
    const LatentReader latents(options.latents);
    if (!(read_checkpoint_info(checkpoint).model == latents.model()))
        throw InputError(fmt::format("{} holds latents of another model than that of {}", options.latents,
                                     checkpoint.string()));
    LoadedModel model = load(options, backend, checkpoint, latents.images());
    ImageSink sink(options.output, latents.model());
    ProgressLine progress(command, "images");
    std::vector<std::uint8_t> pixels;
    std::vector<state_t> eps;
    std::vector<double> largest(static_cast<std::size_t>(model.buffers().capacity));
    SampleHealth found;
    for (index_t first = 0; first < latents.images(); first += model.buffers().capacity) {
        const index_t count = std::min(model.buffers().capacity, latents.images() - first);
        pixels.resize(static_cast<std::size_t>(count * latents.model().dimensions()));
        eps.resize(pixels.size());
        Flow flow;
        flow.N = count;
        flow.h = eps.data();
        flow.labels = latents.labels().empty() ? nullptr : latents.labels().data() + first;
        latents.read(first, flow);
        decode_images(model, flow, pixels.data(), largest.data());
        found.add(count, largest.data());
        cross_out_not_finite(latents.model(), count, largest.data(), pixels.data());
        sink.append(pixels, count);
        progress.show(first + count, latents.images());
    }
    sink.commit();
    if (found.any()) command.warn("images: {} (docs/using.md says why)", found.text());
    command.result(fmt::format("{}: {} images", options.output, latents.images()),
                   {{"output", options.output},
                    {"images", latents.images()},
                    {"not_finite", found.not_finite},
                    {"out_of_range", found.out_of_range}});
}

// How far decoded pixels are from the true ones, in gray levels.
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

// From the latents of levels `deepest .. lowest` alone, those below at their mean (eps = 0).
struct Cut {
    std::size_t parts;  // how many of latent_parts() stay, from the deepest on
    std::string name;
    PixelError error;
    std::vector<std::uint8_t> shown;  // the first images, decoded
};

void reconstruct(const CommandLine& command, const Options& options) {
    std::vector<NamedPath> files;
    if (!options.output.empty()) files.push_back({"--output", options.output});
    const OutputFiles outputs(command, inputs_of(options), files);
    if (!options.output.empty()) require_png_name(options.output);
    Encoding encoding(command, options);
    LoadedModel& model = encoding.model;
    const ModelConfig& config = model.glow().config();
    const index_t D = config.dimensions(), shown = std::min(options.show, encoding.set.N);
    const std::vector<LatentPart> parts = latent_parts(config);
    std::vector<Cut> cuts;
    for (std::size_t kept = parts.size(); kept > 0; --kept) {
        const index_t lowest = parts[kept - 1].level, top = config.levels - 1;
        const std::string name = kept == parts.size() ? "all latents"
                                 : kept == 1          ? fmt::format("level {}", top)
                                                      : fmt::format("levels {}-{}", lowest, top);
        cuts.push_back({kept, name, {}, {}});
    }

    ProgressLine progress(command, "images");
    std::vector<std::uint8_t> pixels;
    std::vector<double> eps;
    encoding.each_batch([&](index_t first, Flow& flow) {
        eps.assign(flow.h, flow.h + flow.N * D);
        pixels.resize(eps.size());
        for (Cut& cut : cuts) {
            std::copy(eps.begin(), eps.end(), flow.h);
            if (cut.parts < parts.size())
                std::fill(flow.h + flow.N * parts[cut.parts].offset, flow.h + flow.N * D, 0.0);
            decode_images(model, flow, pixels.data());
            cut.error.add(pixels.data(), encoding.set.image(first), flow.N * D, config.n_bits);
            for (index_t n = 0; n < flow.N && first + n < shown; ++n)
                cut.shown.insert(cut.shown.end(), pixels.begin() + n * D, pixels.begin() + (n + 1) * D);
        }
        progress.show(first + flow.N, encoding.set.N);
    });

    const auto panel = [&](const std::string& label, const std::uint8_t* images) {
        return Panel{label, tile_images(images, shown, config.image_height, config.image_width,
                                        config.channels, {shown, 1})};
    };
    if (!options.output.empty()) {
        std::vector<Panel> panels = {panel("image", encoding.set.image(0))};
        for (const Cut& cut : cuts) panels.push_back(panel(cut.name, cut.shown.data()));
        write_png(options.output, side_by_side(panels));
    }

    std::string text;
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const Cut& cut : cuts) {
        const double share = static_cast<double>(cut.parts < parts.size() ? parts[cut.parts].offset : D) /
                             static_cast<double>(D);
        text += fmt::format(
            "{}{:<13} ({:>3.0f}% of them): {} of {} values wrong, mean error {:.3f}, largest {} "
            "gray levels",
            text.empty() ? "" : "\n", cut.name, 100 * share, cut.error.wrong, cut.error.values,
            cut.error.mean(), cut.error.largest);
        rows.push_back({{"latents", cut.name},
                        {"share", share},
                        {"wrong_values", cut.error.wrong},
                        {"values", cut.error.values},
                        {"mean_error", cut.error.mean()},
                        {"max_error", cut.error.largest}});
    }
    if (!options.output.empty()) text += "\n" + options.output;
    command.result(text, {{"images", encoding.set.N},
                          {"max_error", cuts[0].error.largest},
                          {"wrong_values", cuts[0].error.wrong},
                          {"kept", rows},
                          {"output", options.output},
                          {"checkpoint", encoding.checkpoint.string()}});
}

void add_model(CLI::App& app, Options& options) {
    app.add_option("--checkpoint", options.checkpoint, "Checkpoint file or run folder")->required();
    app.add_flag("--no-ema", options.no_ema, "Raw weights instead of their running average");
    app.add_option("--precision", options.precision,
                   "fp32, tf32 (GPUs) or bf16: precision of the coupling networks");
    app.add_option("--batch", options.batch, "Images at once")->check(CLI::Range(1, 1 << 20));
    add_device(app, options.device);
    app.add_option("--threads", options.threads, "Threads; 0: all usable processors")
        ->check(CLI::Range(0, 4096));
}

void add_images(CLI::App& app, Options& options) {
    app.add_option("--data", options.data, "Data set (HDF5)")->required();
    app.add_option("--split", options.split, "train, valid or test");
    app.add_option("--limit", options.limit, "Only the first so many images; 0: all")
        ->check(CLI::Range(index_t{0}, index_t{1} << 48));
}

}  // namespace

int main(int argc, char** argv) {
    return run_tool(argc, argv, "Images to latents of a trained Glow, and back.", [](CommandLine& command) {
        const auto options = std::make_shared<Options>();
        CLI::App* const to = command.subcommand("encode", "Latents of images, as standard normal numbers",
                                                [&command, options] { encode(command, *options); });
        add_model(*to, *options);
        add_images(*to, *options);
        to->add_option("-o,--output", options->output, "File of latents (HDF5)")->required();

        CLI::App* const from = command.subcommand("decode", "Images of latents",
                                                  [&command, options] { decode(command, *options); });
        add_model(*from, *options);
        from->add_option("--latents", options->latents, "File of latents")->required();
        from->add_option("-o,--output", options->output,
                         "NAME.h5: images in /images; else a folder of PNG files")
            ->required();

        CLI::App* const both = command.subcommand(
            "reconstruct", "Decodes what encode gives, from all levels and from the deepest ones alone",
            [&command, options] { reconstruct(command, *options); });
        add_model(*both, *options);
        add_images(*both, *options);
        both->add_option("-o,--output", options->output,
                         "Picture of the first images, level by level, NAME.png");
        both->add_option("--show", options->show, "Images in the picture")->check(CLI::Range(1, 64));
        add_latent_editing(command);
    });
}

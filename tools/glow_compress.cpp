// glow_compress: lossless compression of images using the model's likelihood.
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "data/formats/input_path.h"
#include "data/formats/output_name.h"
#include "data/formats/webp.h"
#include "data/photo_files.h"
#include "inference/loaded_model.h"
#include "inference/message_text.h"
#include "inference/photo_archive.h"
#include "kernels/error.h"
#include "tools/command_line.h"
#include "tools/folder_images.h"
#include "tools/model_options.h"
#include "tools/output_files.h"
#include "tools/progress.h"

namespace {

using namespace glow;

struct Options {
    ModelOptions model;
    DataOptions data;
    std::string input, output;  // input: another way to give --data
    bool skip = false, force = false;
};

// Names the file behind latest.h5, which a run that continues moves to another checkpoint.
void warn_of_lifetime(const CommandLine& command, const std::string& output,
                      const std::filesystem::path& checkpoint, const LoadedModel& model) {
    if (model.info().model.dequant_depth > 0)
        command.info(
            "the model's variational noise is not used: pixels are coded with uniform noise, as glow_eval --dequant "
            "uniform measures");
    command.info(
        "{} can be decompressed only with {}, by this build (glow {}), on this kind of processor: keep the originals",
        output, resolve_link(checkpoint).string(), glow_version());
}

// "21.3% smaller than"
std::string compared(std::uint64_t bytes, std::uint64_t other) {
    const double change = static_cast<double>(bytes) / static_cast<double>(other) - 1;
    return fmt::format("{:.1f}% {} than", 100 * std::abs(change), change <= 0 ? "smaller" : "larger");
}

// The same images in other formats, a file each.
struct OtherSizes {
    std::uint64_t png = 0;
    std::optional<std::uint64_t> webp = 0;  // none if libwebp cannot write them all

    void add(const Image& image) {
        png += png_bytes(image);
        const std::optional<std::size_t> bytes = webp ? webp_bytes(image) : std::nullopt;
        webp = bytes ? std::optional(*webp + *bytes) : std::nullopt;
    }
    std::string text(std::uint64_t bytes) const {
        std::string text = fmt::format("{} as PNG files ({} bytes)", compared(bytes, png), png);
        if (webp)
            text += fmt::format("; {} as lossless WebP files ({} bytes)", compared(bytes, *webp), *webp);
        return text;
    }
    nlohmann::ordered_json json_webp() const {
        return webp ? nlohmann::ordered_json(*webp) : nlohmann::ordered_json();
    }
};

void compress_dataset(const CommandLine& command, const Options& options, const Backend& backend,
                      const std::filesystem::path& checkpoint) {
    options.data.require_fitting(options.model, checkpoint);
    const ImageSet set = load_split(options.data.data, options.data.split, options.data.images());
    LoadedModel model = options.model.load(command, checkpoint, {set.H, set.W}, set.N, backend);
    warn_of_lifetime(command, options.output, checkpoint, model);
    ProgressLine progress(command, "images");
    const CompressedImages images = compress(model, set, backend.exec().threads, options.model.precision,
                                             [&](index_t done) { progress.show(done, set.N); });
    progress.clear();
    write_compressed(options.output, images);
    OtherSizes others;
    for (index_t n = 0; n < set.N; ++n)
        others.add({set.H, set.W, set.C, {set.image(n), set.image(n) + set.image_bytes()}});
    const double values = static_cast<double>(set.N * set.image_bytes());
    const double bits = 8 * static_cast<double>(images.bytes()) / values;
    const double net = 8 * static_cast<double>(images.bytes() - images.start_up()) / values;
    command.result(
        fmt::format("{}: {}, {} of {} bytes: {:.4f} bits/dim, {:.4f} without the {} bytes of start-up; {}",
                    options.output, counted(set.N, options.data.split + " image"), images.bytes(),
                    set.images.size(), bits, net, images.start_up(), others.text(images.bytes())),
        {{"output", options.output},
         {"images", set.N},
         {"split", options.data.split},
         {"image_bytes", set.images.size()},
         {"bytes", images.bytes()},
         {"start_up_bytes", images.start_up()},
         {"bpd", bits},
         {"bpd_without_start_up", net},
         {"png_bytes", others.png},
         {"webp_bytes", others.json_webp()},
         {"checkpoint", checkpoint.string()},
         {"weights", model.used_ema() ? "ema" : "raw"}});
}

// Photographs of the folder that can be coded, and sizes for comparison.
struct Survey {
    std::vector<PhotoFile> photos;
    std::vector<std::string> problems;  // files that cannot be coded
    std::uint64_t values = 0, file_bytes = 0;
    OtherSizes others;
};

Survey survey_photos(const CommandLine& command, const Options& options, const PhotoFiles& files,
                     const ModelConfig& model) {
    const std::filesystem::path folder = options.data.data;
    Survey survey;
    survey.problems = files.skipped;
    if (!files.repeats.empty()) survey.problems.push_back(describe_repeats(folder, files.repeats));
    const std::vector<std::string> names = archive_names(files.names);
    std::map<std::string, std::int32_t> classes;
    if (model.y_cond) classes = classes_of_photographs(options.data.data, model);
    ProgressLine progress(command, "photographs read");
    for (std::size_t n = 0; n < names.size(); ++n) {
        const std::filesystem::path path = folder / files.names[n];
        try {
            require_restorable(path, names[n]);
            const auto label = classes.find(files.names[n]);
            if (model.y_cond && label == classes.end())
                throw InputError(fmt::format("{}: appeared while the folder was read", path.string()));
            ExactPhoto photo = read_codable_photo(path, model);
            survey.photos.push_back(
                {path, describe_photo(photo, names[n]), model.y_cond ? label->second : 0});
            const Image image = with_channels(std::move(photo.image), photo.gray ? 1 : model.channels);
            survey.values += image.pixels.size();
            survey.file_bytes += std::filesystem::file_size(path);
            survey.others.add(image);
        } catch (const InputError& error) {
            survey.problems.push_back(error.what());
        }
        progress.show(static_cast<index_t>(n) + 1, std::ssize(names));
    }
    progress.clear();
    return survey;
}

void compress_folder(const CommandLine& command, const Options& options, const PhotoFiles& files,
                     const Backend& backend, const std::filesystem::path& checkpoint) {
    const ModelConfig config = options.model.config(checkpoint);
    const std::string& folder = options.data.data;
    options.data.refuse_split("is a folder");
    if (config.channels != 1 && config.channels != 3)
        throw InputError("photographs need a model with 1 or 3 channels");
    if (files.names.empty()) throw InputError(no_photos(folder, files.other_files));
    if (!files.other_files.empty())
        command.warn("{}: files that are not {} are left out: {}", folder, photo_suffixes(),
                     describe_suffixes(files.other_files));
    const Survey survey = survey_photos(command, options, files, config);
    if (!survey.problems.empty() && !options.skip)
        throw InputError(join_problems(survey.problems) + " (--skip leaves such files out)");
    for (const std::string& problem : survey.problems) command.warn("left out: {}", problem);
    if (survey.photos.empty()) throw InputError(fmt::format("{}: no photograph can be coded", folder));
    LoadedModel model =
        options.model.load(command, checkpoint, image_size(config), options.model.batch, backend);
    warn_of_lifetime(command, options.output, checkpoint, model);
    ProgressLine progress(command, "tiles");
    const CompressedImages images =
        compress_photos(model, survey.photos, backend.exec().threads, options.model.precision,
                        [&](index_t done, index_t all) { progress.show(done, all); });
    progress.clear();
    write_compressed(options.output, images);
    const double bits = 8 * static_cast<double>(images.bytes()) / static_cast<double>(survey.values);
    command.result(fmt::format("{}: {}, {} bytes, {:.4f} bits/dim; {}; {} the files themselves ({} bytes)",
                               options.output, counted(std::ssize(survey.photos), "photograph"),
                               images.bytes(), bits, survey.others.text(images.bytes()),
                               compared(images.bytes(), survey.file_bytes), survey.file_bytes),
                   {{"output", options.output},
                    {"images", survey.photos.size()},
                    {"tiles", images.images},
                    {"image_bytes", survey.values},
                    {"bytes", images.bytes()},
                    {"start_up_bytes", images.start_up()},
                    {"bpd", bits},
                    {"png_bytes", survey.others.png},
                    {"webp_bytes", survey.others.json_webp()},
                    {"file_bytes", survey.file_bytes},
                    {"left_out", survey.problems},
                    {"checkpoint", checkpoint.string()},
                    {"weights", model.used_ema() ? "ema" : "raw"}});
}

void run(const CommandLine& command, Options options) {
    if (options.input.empty() == options.data.data.empty())
        throw InputError("give a folder of photographs or a data set, once: glow_compress INPUT -o F.glow");
    if (options.data.data.empty()) options.data.data = options.input;
    PhotoFiles files;
    if (options.data.is_folder()) {
        files = list_photos(options.data.data);
        if (options.data.limit > 0 && options.data.limit < std::ssize(files.names))
            files.names.resize(static_cast<std::size_t>(options.data.limit));
    }
    const OutputFiles outputs(command,
                              {{"--checkpoint", options.model.checkpoint}, {"--data", options.data.data}},
                              {{"--output", options.output}}, Replacing::by_own_rule);
    refuse_other_name(options.output, "a compressed file");
    refuse_existing(options.output, options.force);
    const Backend backend = open_cpu_backend(command, options.model.device, options.model.threads);
    const auto checkpoint = find_checkpoint(options.model.checkpoint);
    if (options.data.is_folder())
        compress_folder(command, options, files, backend, checkpoint);
    else
        compress_dataset(command, options, backend, checkpoint);
}

}  // namespace

int main(int argc, char** argv) {
    return run_tool(
        argc, argv, "Compresses photographs or data sets losslessly, with the likelihood of a trained Glow.",
        [](CommandLine& command) {
            const auto options = std::make_shared<Options>();
            CLI::App& app = command.app();
            command.examples(
                "glow_compress PHOTOS --checkpoint runs/photos -o photos.glow\n"
                "glow_compress datasets/cifar10.h5 --checkpoint runs/quick --limit 1000 -o test.glow");
            add_model_options(app, options->model);
            app.get_option("--batch")->check(CLI::Range(1u, kMaxBatch));
            app.get_option("--device")->description(kCpuOnly);
            add_data_options(app, options->data);
            add_size(
                app, options->model,
                "Size of the tiles of photographs, HxW, divisible by 2^levels; default: that of the training images")
                ->group("Data");
            app.get_option("--data")->required(false)->description("The same as INPUT");
            app.add_option("INPUT", options->input,
                           "A folder of photographs, read with its subfolders, or a data set (HDF5)");
            app.add_flag(
                "--skip", options->skip,
                "Leave out photographs that cannot be read or coded without loss (16 bits, transparency), "
                "instead of refusing");
            app.add_option("-o,--output", options->output, "Compressed file")->required();
            app.add_flag("--force", options->force, "Replace the compressed file if it exists");
            command.action([&command, options] { run(command, *options); });
        });
}

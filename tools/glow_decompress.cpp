// glow_decompress: restores the images of a glow_compress file.
#include <algorithm>
#include <map>
#include <memory>

#include "data/formats/atomic_file.h"
#include "data/formats/hdf5_file.h"
#include "data/formats/input_path.h"
#include "data/formats/output_name.h"
#include "data/formats/png.h"
#include "inference/loaded_model.h"
#include "inference/message_text.h"
#include "inference/photo_archive.h"
#include "kernels/error.h"
#include "tools/command_line.h"
#include "tools/model_options.h"
#include "tools/output_files.h"
#include "tools/progress.h"

namespace {

namespace fs = std::filesystem;
using namespace glow;

struct Options {
    std::string checkpoint, input, output, device = "auto";
    int ignored_threads = 0;
    bool force = false;
};

// Writes PNG files below a folder, with subfolders, and nowhere else: not through symbolic links.
class PictureFolder {
  public:
    // Throws InputError if a picture exists, unless `force`, or cannot be written.
    PictureFolder(const fs::path& folder, std::vector<std::string> names, bool force)
        : folder_(folder), names_(std::move(names)) {
        std::vector<std::string> problems, existing;
        std::error_code ignored;
        for (const std::string& name : names_) {
            if (const std::string problem = problem_with(name); !problem.empty())
                problems.push_back(problem);
            else if (fs::exists(folder_ / name, ignored))
                existing.push_back((folder_ / name).string());
        }
        if (!problems.empty()) throw InputError(join_problems(problems));
        if (!existing.empty() && !force)
            throw InputError(fmt::format("{} of its pictures exist (--force replaces them): {}",
                                         existing.size(), join_problems(existing)));
    }

    void write(index_t number, const Image& image) {
        const std::string& name = names_[static_cast<std::size_t>(number)];
        if (const std::string problem = problem_with(name); !problem.empty()) throw InputError(problem);
        const fs::path path = folder_ / name;
        if (const auto id = file_id(path); id && written_.contains(*id))
            throw InputError(fmt::format(
                "{}: this file system does not distinguish it from {}, which would be overwritten: choose a "
                "folder on a file system that distinguishes upper and lower case",
                path.string(), written_.at(*id)));
        std::error_code failed;
        fs::create_directories(path.parent_path(), failed);
        if (failed)
            throw InputError(fmt::format("{}: cannot create the folder: {}", path.parent_path().string(),
                                         failed.message()));
        write_png(path, image);
        if (const auto id = file_id(path)) written_.emplace(*id, name);
    }

  private:
    std::string problem_with(const fs::path& name) const {
        fs::path path = folder_;
        for (auto part = name.begin(); part != name.end(); ++part) {
            path /= *part;
            std::error_code ignored;
            const fs::file_type type = fs::symlink_status(path, ignored).type();
            if (type == fs::file_type::not_found) return "";
            const bool last = std::next(part) == name.end();
            if (type == fs::file_type::symlink)
                return fmt::format("{} is a symbolic link, which is not written through", path.string());
            if (type != (last ? fs::file_type::regular : fs::file_type::directory))
                return fmt::format("{}: expected a {}", path.string(), last ? "file" : "folder");
        }
        return "";
    }

    fs::path folder_;
    std::vector<std::string> names_;
    std::map<FileId, std::string> written_;  // by this object
};

void restore_photos(const CommandLine& command, const Options& options, LoadedModel& model,
                    const CompressedImages& images) {
    const index_t count = std::ssize(images.photos);
    std::vector<std::string> names;
    for (const CompressedPhoto& photo : images.photos) names.push_back(photo.name);
    PictureFolder folder(options.output, std::move(names), options.force);
    ProgressLine progress(command, "photographs");
    decompress_photos(model, images, [&](index_t number, const Image& image) {
        folder.write(number, image);
        progress.show(number + 1, count);
    });
    progress.clear();
    command.result(fmt::format("{}: {}, equal to the original{}", options.output,
                               counted(count, "photograph"), count == 1 ? "" : "s"),
                   {{"output", options.output}, {"images", count}});
}

// Holds all images in memory until every pixel has been checked.
void restore_numbered(const CommandLine& command, const Options& options, LoadedModel& model,
                      const CompressedImages& images) {
    std::vector<std::string> names;
    for (index_t n = 0; n < images.images; ++n) names.push_back(fmt::format("{:06d}.png", n));
    refuse_other_pictures({"--output", options.output}, images.images);
    PictureFolder folder(options.output, std::move(names), options.force);
    const index_t bytes = images.H * images.W * images.C;
    std::vector<std::uint8_t> all;
    ProgressLine progress(command, "images");
    decompress(model, images, [&](index_t first, index_t count, const std::uint8_t* pixels) {
        all.insert(all.end(), pixels, pixels + count * bytes);
        progress.show(first + count, images.images);
    });
    progress.clear();
    for (index_t n = 0; n < images.images; ++n) {
        const std::uint8_t* const image = all.data() + n * bytes;
        folder.write(n, {images.H, images.W, images.C, {image, image + bytes}});
    }
    command.result(fmt::format("{}: {}, equal to the original{}", options.output,
                               counted(images.images, "image"), images.images == 1 ? "" : "s"),
                   {{"output", options.output}, {"images", images.images}});
}

void restore_dataset(const CommandLine& command, const Options& options, LoadedModel& model,
                     const CompressedImages& images) {
    AtomicFile atomic(options.output);
    Hdf5File file = Hdf5File::create(atomic.temporary(), options.output);
    file.create_growing<std::uint8_t>("/images", {images.H, images.W, images.C});
    ProgressLine progress(command, "images");
    std::vector<std::int32_t> labels;
    const auto append = [&](index_t first, index_t count, const std::uint8_t* pixels) {
        file.append<std::uint8_t>("/images", count, pixels);
        progress.show(first + count, images.images);
    };
    decompress(model, images, append, &labels);
    progress.clear();
    if (!labels.empty()) file.write<std::int32_t>("/labels", {images.images}, labels.data());
    file.close();
    atomic.commit();
    command.result(
        fmt::format("{}: {}, equal to the originals", options.output, counted(images.images, "image")),
        {{"output", options.output}, {"images", images.images}});
}

void run(const CommandLine& command, const Options& options) {
    const bool to_file = is_hdf5_name(options.output);
    std::vector<NamedPath> files;
    if (to_file) files.push_back({"--output", options.output});
    OutputFiles outputs(command, {{"--checkpoint", options.checkpoint}, {"the input", options.input}}, files,
                        Replacing::by_own_rule);
    if (to_file) refuse_existing(options.output, options.force);
    if (!to_file) refuse_other_name(options.output, "a folder of PNG files");
    if (!to_file) outputs.add_folder({"--output", options.output});
    const CompressedImages images = read_compressed(options.input);
    if (to_file && !images.photos.empty())
        throw InputError(
            fmt::format("{} holds photographs, each of its own size: -o must name a folder", options.input));
    const auto checkpoint = find_checkpoint(options.checkpoint);
    const ModelConfig config = read_checkpoint_info(checkpoint).model;
    if (images.C != config.channels || images.n_bits != config.n_bits)
        throw InputError(fmt::format(
            "{} has images of {} channels with {} bits, but the model of {} takes {} with {}", options.input,
            images.C, images.n_bits, checkpoint.string(), config.channels, config.n_bits));
    // Use the number of threads that compressed the file: matrix products may depend on it.
    const Backend backend = open_cpu_backend(command, options.device, images.threads);
    LoadedModel model(checkpoint, images.ema, images.precision,
                      *std::max_element(images.batches.begin(), images.batches.end()), backend,
                      ImageSize{images.H, images.W});
    const auto restore = to_file                 ? restore_dataset
                         : images.photos.empty() ? restore_numbered
                                                 : restore_photos;
    restore(command, options, model, images);
}

}  // namespace

int main(int argc, char** argv) {
    return run_tool(
        argc, argv, "Restores photographs or images, with the checkpoint that compressed them.",
        [](CommandLine& command) {
            const auto options = std::make_shared<Options>();
            CLI::App& app = command.app();
            command.examples("glow_decompress --checkpoint runs/photos photos.glow -o PHOTOS");
            add_checkpoint(app, options->checkpoint);
            app.add_option("INPUT", options->input, "Compressed file")->required();
            app.add_option(
                   "-o,--output", options->output,
                   "Folder for PNG files, created if needed; for a data set also NAME.h5, with /images")
                ->required();
            app.add_flag("--force", options->force, "Replace pictures in the folder, or the data set");
            add_device(app, options->device)->description(kCpuOnly);
            add_threads(app, options->ignored_threads, "Ignored: the file determines the number of threads");
            command.action([&command, options] { run(command, *options); });
        });
}

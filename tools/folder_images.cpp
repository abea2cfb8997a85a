#include "tools/folder_images.h"

#include <algorithm>
#include <utility>

#include "data/formats/photo.h"
#include "data/formats/png.h"
#include "data/image_folder.h"
#include "data/photo_files.h"
#include "inference/data_access.h"
#include "inference/loaded_model.h"
#include "inference/message_text.h"
#include "kernels/error.h"
#include "runtime/memory_limit.h"
#include "runtime/watchdog.h"

namespace glow {
namespace {

// Photographs decoded between two reports of skipped ones, and their bytes unless one has more.
constexpr index_t kBatch = 256, kBatchBytes = index_t{1} << 28;

void check_channels(const std::string& folder, const ModelConfig& model) {
    if (model.channels != 1 && model.channels != 3)
        throw InputError(
            fmt::format("{} is a folder of photographs, but the model has {} channels, not 1 or 3", folder,
                        model.channels));
}

void check_classes(const std::string& folder, const ImageFolder& source, const ModelConfig& model) {
    if (const index_t found = std::ssize(source.classes()); found != model.n_classes)
        throw InputError(fmt::format(
            "{0}: the model has {1} classes: expected all photographs in {1} subfolders, one per class in "
            "alphabetical order, found {2}",
            folder, model.n_classes,
            found == 0 ? "fewer than two, or photographs outside of them" : counted(found, "folder")));
}

}  // namespace

NamedImages load_folder(const CommandLine& command, const DataOptions& data, const ModelConfig& model,
                        FolderClasses classes, int threads) {
    check_channels(data.data, model);
    data.refuse_split("is a folder");
    ImageFolderOptions options;
    options.size = model.image_height;
    options.width = model.image_width;
    options.channels = model.channels;
    options.test = 0;
    options.limit_train = data.images();
    options.threads = threads;
    if (classes == FolderClasses::ignored) options.classes = false;
    if (options.size * options.width > kPngPixelLimit)
        throw InputError(fmt::format("--size {}x{}: photographs have at most {} pixels and are not enlarged",
                                     options.size, options.width, kPngPixelLimit));
    ImageFolder source(data.data, options);
    if (classes == FolderClasses::labels) check_classes(data.data, source, model);
    if (!source.other_files().empty())
        command.info("{}: files that are not {} are skipped: {}", data.data, photo_suffixes(),
                     describe_suffixes(source.other_files()));
    if (!source.repeats().empty()) command.warn("{}", describe_repeats(data.data, source.repeats()));
    const index_t all = source.info().train, bytes = source.info().image_bytes();
    NamedImages found;
    found.set = {0, options.size, options.width, options.channels, {}, {}, source.info().n_classes};
    const std::vector<std::int32_t> labels = source.labels(SourceSplit::train);
    std::vector<std::uint8_t> pixels;
    const index_t batch = std::clamp<index_t>(kBatchBytes / bytes, 1, kBatch);
    for (index_t first = 0; first < all; first += batch) {
        const index_t count = std::min(batch, all - first);
        pixels.resize(static_cast<std::size_t>(count * bytes));
        std::vector<std::uint8_t> usable(static_cast<std::size_t>(count), 1);
        source.read(SourceSplit::train, first, count, pixels.data(), nullptr, usable.data());
        for (const std::string& problem : source.take_skipped()) command.warn("skipped: {}", problem);
        for (index_t n = 0; n < count; ++n) {
            if (usable[static_cast<std::size_t>(n)] == 0) continue;
            const std::uint8_t* const image = pixels.data() + n * bytes;
            found.set.images.insert(found.set.images.end(), image, image + bytes);
            found.names.push_back(source.name(SourceSplit::train, first + n));
            if (!labels.empty()) found.set.labels.push_back(labels[static_cast<std::size_t>(first + n)]);
            ++found.set.N;
        }
    }
    if (found.set.N == 0) throw InputError(fmt::format("{}: no photograph can be used", data.data));
    return found;
}

std::map<std::string, std::int32_t> classes_of_photographs(const std::string& folder,
                                                           const ModelConfig& model) {
    ImageFolderOptions options;
    options.size = 1;
    options.channels = model.channels;
    options.test = 0;
    const ImageFolder source(folder, options);
    check_classes(folder, source, model);
    const std::vector<std::int32_t> labels = source.labels(SourceSplit::train);
    std::map<std::string, std::int32_t> classes;
    for (index_t n = 0; n < std::ssize(labels); ++n)
        classes.emplace(source.name(SourceSplit::train, n), labels[static_cast<std::size_t>(n)]);
    return classes;
}

NamedImages load_images(const CommandLine& command, const ModelOptions& options, const DataOptions& data,
                        const std::filesystem::path& checkpoint, int threads) {
    if (data.is_folder()) {
        const ModelConfig model = options.config(checkpoint);
        return load_folder(command, data, model,
                           model.y_cond ? FolderClasses::labels : FolderClasses::ignored, threads);
    }
    data.require_fitting(options, checkpoint);
    ImageSet set = load_split(data.data, data.split, data.images());
    std::vector<std::string> names = DatasetReader(data.data).read_names(data.split, set.N);
    return {std::move(set), std::move(names)};
}

SplitImages open_split(const CommandLine& command, const DataOptions& data, const ProcessGroup& group) {
    const ScopedTimeout timeout("reading the data set");
    const auto on_disk = [&] { return SplitImages(data.data, data.split, data.images()); };
    const DatasetReader reader(data.data);
    const DatasetInfo& info = reader.info();
    const index_t all = info.images(data.split), N = data.limit > 0 ? std::min(data.limit, all) : all;
    if (N == 0) return on_disk();  // refuses it
    const ChunkInfo chunks = reader.chunks(data.split);
    if (!unpacks_many_images(chunks)) return on_disk();
    const auto bytes = static_cast<std::size_t>(N * info.H * info.W * info.C);
    const DataAccess access = choose_data_access(ImageAccess::automatic, data.data, bytes,
                                                 memory_limit_bytes(), group.local_size, chunks);
    if (!access.warning.empty()) command.warn("{}", access.warning);
    if (access.on_disk) return on_disk();
    return load_split(data.data, data.split, data.images());
}

}  // namespace glow

// glow_data: makes, describes and displays data sets.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "data/cifar10.h"
#include "data/dataset.h"
#include "data/formats/hdf5_file.h"
#include "data/formats/output_name.h"
#include "data/formats/photo.h"
#include "data/grid.h"
#include "data/image_folder.h"
#include "data/mnist.h"
#include "data/npz.h"
#include "data/photo_files.h"
#include "data/synthetic_gauss.h"
#include "data/synthetic_shapes.h"
#include "data/training_images.h"
#include "inference/message_text.h"
#include "kernels/error.h"
#include "runtime/threads.h"
#include "tools/command_line.h"
#include "tools/download.h"
#include "tools/model_options.h"
#include "tools/output_files.h"
#include "tools/progress.h"

namespace {

using glow::CommandLine;
using glow::index_t;

constexpr index_t kBatch = 1024;  // Gaussian images per batch

// Options shared by all commands that make a data set.
struct MakeOptions {
    std::string output;
    glow::SplitOptions split;
    int threads = 0;
    bool force = false;
};

void add_make_options(CLI::App* app, MakeOptions& options, const std::string& valid_text) {
    app->add_option("-o,--output", options.output, "The data set to write (HDF5)")->required();
    app->add_flag("--force", options.force, "Replace the data set if it exists")->default_str("");
    app->add_option("--valid", options.split.valid, valid_text)->type_name("FRACTION");
    glow::add_seed(*app, options.split.seed, "Seed of the random numbers");
}

// The same for images from files.
void add_file_options(CLI::App* app, MakeOptions& options) {
    app->add_option(
           "--limit-train", options.split.limit_train,
           "Take the first N training images, before --valid (with class folders: evenly over the classes)")
        ->type_name("N")
        ->check(CLI::PositiveNumber)
        ->default_str("all");
    app->add_option("--limit-test", options.split.limit_test, "Take the first N test images (likewise)")
        ->type_name("N")
        ->check(CLI::NonNegativeNumber)
        ->default_str("all");
    add_make_options(app, options, "Fraction of the training images used for validation, drawn by --seed");
}

int threads_of(const MakeOptions& options) {
    return glow::decide_threads(options.threads).used;
}

void report(const CommandLine& command, const std::string& output,
            const nlohmann::ordered_json& more = nlohmann::ordered_json::object()) {
    const glow::DatasetInfo info = glow::describe_dataset(output);
    command.info("{}: {} training, {} validation and {} test images of {} x {} x {}", output, info.train,
                 info.valid, info.test, info.H, info.W, info.C);
    if (info.valid > 0 && info.valid < glow::kFewValidationImages)
        command.warn("only {}: their bits/dim will be imprecise (raise --valid)",
                     glow::counted(info.valid, "validation image"));
    if (!command.json()) return;
    nlohmann::ordered_json object = {
        {"output", output}, {"train", info.train}, {"valid", info.valid}, {"test", info.test}};
    object.update(more);
    command.result("", object);
}

// Writes the data set with a progress line.
void make(const CommandLine& command, const MakeOptions& options, glow::ImageSource& source,
          const std::vector<glow::NamedPath>& inputs) {
    const glow::OutputFiles outputs(command, inputs, {{"--output", options.output}},
                                    glow::Replacing::by_own_rule);
    glow::refuse_existing(options.output, options.force);
    glow::ProgressLine line(command, "images");
    glow::write_dataset(options.output, source, options.split,
                        [&line](index_t done, index_t all) { line.show(done, all); });
    line.clear();
    // Labels may skip numbers: EMNIST's letters are 1 .. 26.
    if (const std::string empty = describe_empty_classes(glow::DatasetReader(options.output)); !empty.empty())
        command.warn("{}", empty);
}

struct FolderOptions : MakeOptions {
    std::string folder;
    bool download = false;
};

void add_cifar10(CommandLine& command) {
    const auto options = std::make_shared<FolderOptions>();
    CLI::App* app =
        command.subcommand("cifar10", "CIFAR-10 from its official binary files", [options, &command] {
            if (options->download) glow::download_cifar10(options->folder, command.quiet());
            const glow::Cifar10Folder folder = glow::find_cifar10(options->folder);
            std::vector<glow::NamedPath> inputs;
            for (const auto* files : {&folder.train, &folder.test})
                for (const glow::Cifar10File& file : *files) inputs.push_back({"the input", file.path});
            glow::Cifar10Source source(folder);
            make(command, *options, source, inputs);
            report(command, options->output);
        });
    app->add_option("DIR", options->folder,
                    "Folder with data_batch_1..5.bin and test_batch.bin, or with train*.bin and test*.bin")
        ->required();
    app->add_flag("--download", options->download, "First download the files into DIR (170 MB)")
        ->default_str("");
    add_file_options(app, *options);
}

void add_mnist(CommandLine& command) {
    const auto options = std::make_shared<FolderOptions>();
    CLI::App* app = command.subcommand(
        "mnist", "MNIST, Fashion-MNIST and similar data sets from IDX files, padded to 32x32",
        [options, &command] {
            glow::MnistSource source(options->folder);
            make(command, *options, source, glow::files_of(options->folder, [](const auto& path) {
                     return path.filename().string().find("-ubyte") != std::string::npos;
                 }));
            report(command, options->output);
        });
    app->add_option("DIR", options->folder,
                    "Folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, and the same with t10k, "
                    "optionally with .gz")
        ->required();
    add_file_options(app, *options);
}

struct ImagesOptions : MakeOptions {
    std::string folder;
    glow::ImageFolderOptions images;
    bool classes = false, no_classes = false;
};

void make_images(const ImagesOptions& options, const CommandLine& command) {
    glow::ImageFolderOptions images = options.images;
    images.seed = options.split.seed;
    images.threads = threads_of(options);
    images.limit_train = options.split.limit_train;
    images.limit_test = options.split.limit_test;
    if (options.classes || options.no_classes) images.classes = options.classes;
    if (images.crop_side > 0 && images.crops == 0 && !images.tile)
        throw glow::InputError("--crop-side is for --crops and --tile");
    glow::ImageFolder source(options.folder, images);
    std::vector<glow::NamedPath> inputs;
    for (const std::filesystem::path& file : source.files()) inputs.push_back({"the input", file});
    const glow::OutputFiles outputs(command, inputs, {{"--output", options.output}},
                                    glow::Replacing::by_own_rule);
    glow::refuse_existing(options.output, options.force);
    if (!source.other_files().empty())
        command.info("{}: files that are not {} are skipped: {}", options.folder, glow::photo_suffixes(),
                     glow::describe_suffixes(source.other_files()));
    if (!source.repeats().empty())
        command.warn("{}", glow::describe_repeats(options.folder, source.repeats()));
    if (!source.classes().empty())
        command.info("{} classes: {}", source.classes().size(), fmt::join(source.classes(), ", "));
    if (const auto without = source.untrained_classes(); !without.empty())
        command.warn("--limit-train {} is less than the {} classes: no training image of {}",
                     images.limit_train, source.classes().size(), fmt::join(without, ", "));
    std::vector<std::string> skipped;
    {
        glow::ProgressLine line(command, "images");
        const auto report_skipped = [&] {
            for (std::string& problem : source.take_skipped()) {
                line.clear();
                command.warn("skipped: {}", problem);
                skipped.push_back(std::move(problem));
            }
        };
        try {
            glow::write_dataset(options.output, source, options.split, [&](index_t done, index_t all) {
                report_skipped();
                line.show(done, all);
            });
        } catch (...) {
            report_skipped();
            throw;
        }
    }
    if (!skipped.empty())
        command.warn("skipped {}", skipped.size() == 1 ? "1 image or folder"
                                                       : fmt::format("{} images or folders", skipped.size()));
    report(
        command, options.output,
        {{"classes", source.classes()}, {"left_out", skipped}, {"repeated_names", source.repeats().size()}});
}

void add_images(CommandLine& command) {
    const auto options = std::make_shared<ImagesOptions>();
    CLI::App* app =
        command.subcommand("images", "Your own photographs, cut to squares and scaled down to one size",
                           [options, &command] { make_images(*options, command); });
    app->add_option("DIR", options->folder, "Folder of images, read with its subfolders")->required();
    app->add_option("--size", options->images.size, "Height and width; smaller images are skipped")
        ->check(CLI::Range(1, 4096))
        ->required();
    app->add_option("--channels", options->images.channels, "3: RGB, 1: gray; alpha is composited over black")
        ->check(CLI::IsMember({1, 3}));
    CLI::Option* const classes =
        app->add_flag(
               "--classes", options->classes,
               "Make each folder in DIR a class, labeled in name order (default if DIR has only folders)")
            ->default_str("");
    app->add_flag("--no-classes", options->no_classes, "Do not make folders classes")
        ->default_str("")
        ->excludes(classes);
    CLI::Option* const crops =
        app->add_option("--crops", options->images.crops,
                        "Cut this many random squares from each image, drawn by --seed")
            ->type_name("N")
            ->check(CLI::Range(1, 1000000))
            ->default_str("the largest square in the middle");
    CLI::Option* const tile =
        app->add_flag("--tile", options->images.tile, "Cut each image into a grid of squares")
            ->default_str("")
            ->excludes(crops);
    app->add_option("--overlap", options->images.overlap,
                    "Overlap of neighboring tiles, as a fraction of their side")
        ->type_name("FRACTION")
        ->needs(tile);
    app->add_option("--crop-side", options->images.crop_side,
                    "Side of crops and tiles in the image, scaled to --size")
        ->type_name("N")
        ->check(CLI::Range(1, 1000000))
        ->default_str("--size");
    app->add_option("--test", options->images.test,
                    "Fraction of the images used for testing, drawn by --seed")
        ->type_name("FRACTION");
    app->add_flag("--strict", options->images.strict,
                  "Stop with an error at damaged, too small or unreadable images instead of skipping them")
        ->default_str("");
    glow::add_threads(*app, options->threads);
    add_file_options(app, *options);
}

struct NpzOptions : MakeOptions {
    std::vector<std::string> files;
};

void add_npz(CommandLine& command) {
    const auto options = std::make_shared<NpzOptions>();
    CLI::App* app = command.subcommand(
        "npz", "Downsampled ImageNet and other images in NumPy archives (arrays data, labels)",
        [options, &command] {
            glow::NpzSource source({options->files.begin(), options->files.end()});
            for (const std::string& warning : source.warnings()) command.warn("{}", warning);
            std::vector<std::string> train, test;
            for (const auto& file : source.files()) {
                const bool is_train = file.split == glow::SourceSplit::train;
                command.info("{}: {}{}", file.path.string(),
                             glow::counted(file.N, is_train ? "training image" : "test image"),
                             file.labels.empty() ? ", no labels" : "");
                (is_train ? train : test).push_back(file.path.string());
            }
            if (source.first_label() == 1)
                command.info("labels 1 to {0} become 0 to {1}, because no label is 0",
                             source.info().n_classes, source.info().n_classes - 1);
            std::vector<glow::NamedPath> inputs;
            for (const std::string& file : options->files) inputs.push_back({"the input", file});
            make(command, *options, source, inputs);
            report(command, options->output, {{"train_files", train}, {"test_files", test}});
        });
    app->add_option("FILES", options->files,
                    "Archives in this order; names with val or test (any case) become test images")
        ->required()
        ->expected(-1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    add_file_options(app, *options);
}

constexpr index_t kMaxSynthetic = index_t{1} << 40;  // the splits' streams are at least this far apart

struct SyntheticOptions : MakeOptions {
    index_t size = 32, channels = 3, train = 10000, test = 1000;
};

void add_synthetic_options(CLI::App* app, SyntheticOptions& options) {
    app->add_option("--train", options.train, "Training images")
        ->check(CLI::Range(index_t{1}, kMaxSynthetic));
    app->add_option("--test", options.test, "Test images")->check(CLI::Range(index_t{0}, kMaxSynthetic));
    glow::add_threads(*app, options.threads);
    add_make_options(app, options, "Additional validation images, as a fraction of --train");
}

// Number of additional validation images of a synthetic set.
index_t valid_images(const SyntheticOptions& options) {
    if (!(options.split.valid >= 0.0 && options.split.valid < 1.0))
        throw glow::InputError(
            fmt::format("--valid: expected a fraction from 0 to below 1, found {}", options.split.valid));
    return std::llround(options.split.valid * static_cast<double>(options.train));
}

void make_gauss(const SyntheticOptions& options, const CommandLine& command) {
    const index_t size = options.size, channels = options.channels;
    glow::DatasetInfo info;
    info.name = "synthetic gauss";
    info.H = info.W = size;
    info.C = channels;
    info.entropy_bpd = glow::gauss_entropy_bpd(size, size, channels);
    const glow::OutputFiles outputs(command, {}, {{"--output", options.output}},
                                    glow::Replacing::by_own_rule);
    glow::refuse_existing(options.output, options.force);
    const index_t counts[] = {options.train, valid_images(options), options.test};

    glow::DatasetWriter writer(options.output, info);
    const index_t image_bytes = size * size * channels;
    const index_t batch = std::clamp<index_t>((index_t{1} << 27) / image_bytes, 1, kBatch);
    std::vector<std::uint8_t> images(static_cast<std::size_t>(batch * image_bytes));
    glow::ProgressLine line(command, "images");
    index_t done = 0;
    for (int split = 0; split < 3; ++split) {
        for (index_t first = 0; first < counts[split]; first += batch) {
            const index_t count = std::min(batch, counts[split] - first);
            glow::make_gauss_images(options.split.seed, split * glow::kGaussSplitStride + first, count, size,
                                    size, channels, threads_of(options), images.data());
            writer.append(glow::kSplits[split], count, images.data(), nullptr);
            line.show(done += count, counts[0] + counts[1] + counts[2]);
        }
    }
    writer.commit();
    line.clear();
    report(command, options.output);
}

// Validation images follow the training images in the same stream.
void make_shapes(const SyntheticOptions& options, const CommandLine& command) {
    const index_t valid = valid_images(options), train = options.train + valid;
    glow::ShapesSource source(options.size, options.channels, train, options.test, options.split.seed,
                              threads_of(options));
    MakeOptions all = options;
    all.split.valid = static_cast<double>(valid) / static_cast<double>(train);
    make(command, all, source, {});
    report(command, options.output);
}

void add_synthetic(CommandLine& command) {
    CLI::App* synthetic = command.subcommand("synthetic", "Synthetic images", nullptr);
    const auto gauss = std::make_shared<SyntheticOptions>();
    CLI::App* app = command.subcommand(
        "gauss", "Correlated Gaussian pixels of known entropy",
        [gauss, &command] { make_gauss(*gauss, command); }, synthetic);
    app->add_option("--size", gauss->size, "Height and width")->check(CLI::Range(1, 4096));
    app->add_option("--channels", gauss->channels, "Channels")->check(CLI::Range(1, 4));
    add_synthetic_options(app, *gauss);

    const auto shapes = std::make_shared<SyntheticOptions>();
    app = command.subcommand(
        "shapes", "A disc, square, triangle or cross on a shaded background, labeled",
        [shapes, &command] { make_shapes(*shapes, command); }, synthetic);
    app->add_option("--size", shapes->size, "Height and width")->check(CLI::Range(8, 4096));
    app->add_option("--channels", shapes->channels, "Channels")->check(CLI::IsMember({1, 3}));
    add_synthetic_options(app, *shapes);
}

void describe(const std::string& path, const CommandLine& command) {
    const glow::DatasetInfo info = glow::describe_dataset(path);
    const auto bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
    std::string text = fmt::format(
        "file      {} ({:.1f} MiB)\nname      {}\nimages    {} x {} x {} (height, width, channels)", path,
        static_cast<double>(bytes) / (1 << 20), info.name.empty() ? "-" : info.name, info.H, info.W, info.C);
    for (const char* split : glow::kSplits)
        text += fmt::format("\n{:<10}{}{}", split, glow::counted(info.images(split), "image"),
                            info.labels(split) ? ", labeled" : "");
    text += info.n_classes > 0 ? fmt::format("\nclasses   {}", info.n_classes) : "\nclasses   -";
    if (info.entropy_bpd) text += fmt::format("\nentropy   {:.4f} bits/dim", *info.entropy_bpd);
    nlohmann::ordered_json object = {
        {"file", path},           {"name", info.name},  {"height", info.H},
        {"width", info.W},        {"channels", info.C}, {"train", info.train},
        {"valid", info.valid},    {"test", info.test},  {"n_classes", info.n_classes},
        {"entropy_bpd", nullptr}, {"bytes", bytes}};
    if (info.entropy_bpd) object["entropy_bpd"] = *info.entropy_bpd;
    command.result(text, object);
}

void add_info(CommandLine& command) {
    const auto path = std::make_shared<std::string>();
    CLI::App* app =
        command.subcommand("info", "Describe a data set", [path, &command] { describe(*path, command); });
    app->add_option("F", *path, "The data set")->required();
}

constexpr index_t kViewSide = 8;  // rows and columns of a sheet, at most

struct ViewOptions {
    std::string path, grid, split, output;
    index_t scale = 0;
    bool force = false;
};

// The first images of a split, or of /images of a file that is no data set.
glow::ImageSet load_view(const ViewOptions& options, index_t most) {
    {
        const glow::Hdf5File file = glow::Hdf5File::open(options.path);
        if (!file.exists("/train/images") && file.exists("/images")) {
            if (!options.split.empty())
                throw glow::InputError(
                    fmt::format("{}: --split is for data sets; this file has only /images", options.path));
            const glow::ArrayInfo array = file.describe_as<std::uint8_t>("/images");
            const auto& shape = array.shape;
            if (shape.size() != 4 || array.elements == 0 || shape[3] > 4)
                throw glow::InputError(
                    fmt::format("{}: /images: expected uint8 [N, H, W, C] with C in 1..4, found {}",
                                options.path, glow::shape_text(shape)));
            glow::ImageSet set{std::min(most, shape[0]), shape[1], shape[2], shape[3], {}, {}, 0};
            set.images.resize(static_cast<std::size_t>(set.N * set.image_bytes()));
            file.read_rows("/images", 0, set.N, set.images.data());
            return set;
        }
    }
    return glow::load_split(options.path, options.split.empty() ? "train" : options.split, most);
}

// As square as possible, at most 8 x 8.
glow::GridSize grid_of(index_t images) {
    glow::GridSize grid{1, 1};
    while (grid.columns < kViewSide && grid.columns * grid.columns < images) ++grid.columns;
    while (grid.rows < kViewSide && grid.rows * grid.columns < images) ++grid.rows;
    return grid;
}

void view(const ViewOptions& options, const CommandLine& command) {
    const std::optional<glow::GridSize> asked =
        options.grid.empty() ? std::nullopt : std::optional(glow::parse_grid(options.grid));
    const glow::OutputFiles outputs(command, {{"the input", options.path}}, {{"--output", options.output}});
    glow::require_png_name(options.output);
    glow::refuse_existing(options.output, options.force);
    const glow::ImageSet set = load_view(options, asked ? asked->tiles() : kViewSide * kViewSide);
    const glow::GridSize grid = asked ? *asked : grid_of(set.N);
    const glow::Image sheet =
        glow::tile_images(set.images.data(), set.N, set.H, set.W, set.C, grid, options.scale);
    glow::write_png(options.output, sheet);
    command.info("{}: {}, {} x {} pixels", options.output, glow::counted(set.N, "image"), sheet.W, sheet.H);
    if (command.json())
        command.result(
            "", {{"output", options.output}, {"images", set.N}, {"width", sheet.W}, {"height", sheet.H}});
}

void add_view(CommandLine& command) {
    const auto options = std::make_shared<ViewOptions>();
    CLI::App* app = command.subcommand("view", "Draw images of a data set as one picture",
                                       [options, &command] { view(*options, command); });
    app->add_option("F", options->path, "The data set, or another HDF5 file with /images")->required();
    app->add_option("--grid", options->grid, "Rows x columns")
        ->type_name("RxC")
        ->default_str("as needed, at most 8x8");
    app->add_option("--split", options->split, "Split")
        ->check(CLI::IsMember({"train", "valid", "test"}))
        ->default_str("train");
    app->add_option(
           "--scale", options->scale,
           "Enlarge each pixel to this many pixels in both directions; 0: as needed for a side of 64")
        ->check(CLI::Range(0, 64));
    app->add_option("-o,--output", options->output, "Picture to write, NAME.png")->required();
    app->add_flag("--force", options->force, "Replace an existing picture")->default_str("");
}

}  // namespace

int main(int argc, char** argv) {
    return glow::run_tool(argc, argv, "Makes, describes and shows data sets.", [](CommandLine& command) {
        command.examples(
            "glow_data cifar10 DIR -o datasets/cifar10.h5\n"
            "glow_data images PHOTOS --size 64 -o datasets/photos.h5\n"
            "glow_data view datasets/photos.h5 -o photos.png");
        add_cifar10(command);
        add_mnist(command);
        add_images(command);
        add_npz(command);
        add_synthetic(command);
        add_info(command);
        add_view(command);
    });
}

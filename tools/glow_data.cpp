// glow_data: makes, describes and shows data sets (spec section 4).
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <vector>

#include "kernels/error.h"
#include "tools/command_line.h"
#include "tools/download.h"
#include "train/data/cifar10.h"
#include "train/data/dataset.h"
#include "train/data/grid.h"
#include "train/data/shuffle.h"
#include "train/data/synthetic_gauss.h"

namespace {

using glow::CommandLine;
using glow::index_t;

constexpr index_t kBatch = 1024;  // images read and written at once

// What all makers of data sets have in common.
struct MakeOptions {
    std::string output;
    double valid = 0.05;
    std::uint64_t seed = 0;
};

void add_make_options(CLI::App* app, MakeOptions& options, const std::string& valid_text) {
    app->add_option("-o,--output", options.output, "The data set to write (HDF5)")->required();
    app->add_option("--valid", options.valid, valid_text)->type_name("FRACTION");
    glow::add_seed(*app, options.seed, "Seed of the random numbers");
}

// How many of N images --valid asks for.
index_t valid_images(const MakeOptions& options, index_t N) {
    if (!(options.valid >= 0.0 && options.valid < 1.0))
        throw glow::InputError(
            fmt::format("--valid: expected a fraction from 0 to below 1, found {}", options.valid));
    return std::llround(options.valid * static_cast<double>(N));
}

void report(const CommandLine& command, const std::string& output) {
    const glow::DatasetInfo info = glow::describe_dataset(output);
    command.say("{}: {} training, {} validation and {} test images of {} x {} x {}", output, info.train,
                info.valid, info.test, info.H, info.W, info.C);
    if (command.json())
        command.result(
            "", {{"output", output}, {"train", info.train}, {"valid", info.valid}, {"test", info.test}});
}

struct Cifar10Options : MakeOptions {
    std::string folder;
    bool download = false;
    index_t limit_train = -1, limit_test = -1;
};

// The first `limit` records of some files, in order; those n with take_out[n] go to the split "valid". -1: no
// limit.
void copy_records(const std::vector<glow::Cifar10File>& files, index_t limit, const std::string& split,
                  const std::vector<bool>& take_out, glow::DatasetWriter& writer) {
    std::vector<std::uint8_t> images(kBatch * glow::kCifar10ImageBytes), kept, out;
    std::vector<std::int32_t> labels(kBatch), kept_labels, out_labels;
    index_t number = 0;
    for (const glow::Cifar10File& file : files) {
        for (index_t first = 0; first < file.records && number < limit; first += kBatch) {
            const index_t count = std::min({kBatch, file.records - first, limit - number});
            glow::read_cifar10(file, first, count, images.data(), labels.data());
            kept.clear();
            out.clear();
            kept_labels.clear();
            out_labels.clear();
            for (index_t n = 0; n < count; ++n, ++number) {
                const bool taken = !take_out.empty() && take_out[static_cast<std::size_t>(number)];
                const auto image = images.begin() + n * glow::kCifar10ImageBytes;
                (taken ? out : kept)
                    .insert((taken ? out : kept).end(), image, image + glow::kCifar10ImageBytes);
                (taken ? out_labels : kept_labels).push_back(labels[static_cast<std::size_t>(n)]);
            }
            writer.append(split, static_cast<index_t>(kept_labels.size()), kept.data(), kept_labels.data());
            writer.append("valid", static_cast<index_t>(out_labels.size()), out.data(), out_labels.data());
        }
    }
}

void make_cifar10(const Cifar10Options& options, const CommandLine& command) {
    if (options.download) glow::download_cifar10(options.folder, command.quiet());
    const glow::Cifar10Folder folder = glow::find_cifar10(options.folder);
    const auto limited = [](index_t limit, index_t images) {
        return limit < 0 ? images : std::min(limit, images);
    };
    const index_t train = limited(options.limit_train, folder.train_images());
    const index_t test = limited(options.limit_test, folder.test_images());
    const index_t valid = valid_images(options, train);
    if (train < 1 || valid >= train)
        throw glow::InputError(
            fmt::format("{} images with --valid {} leave none for training", train, options.valid));

    glow::DatasetInfo info;
    info.name = "cifar10";
    info.H = info.W = glow::kCifar10Side;
    info.C = glow::kCifar10Channels;
    info.n_classes = glow::kCifar10Classes;
    glow::DatasetWriter writer(options.output, info);
    std::vector<bool> take_out(static_cast<std::size_t>(train));
    for (index_t n = 0; n < valid; ++n)
        take_out[static_cast<std::size_t>(glow::shuffled(options.seed, 0, train, n))] = true;
    copy_records(folder.train, train, "train", take_out, writer);
    copy_records(folder.test, test, "test", {}, writer);
    writer.commit();
    report(command, options.output);
}

void add_cifar10(CommandLine& command) {
    const auto options = std::make_shared<Cifar10Options>();
    CLI::App* app = command.subcommand("cifar10", "CIFAR-10 from its official binary files",
                                       [options, &command] { make_cifar10(*options, command); });
    app->add_option("DIR", options->folder,
                    "Folder of data_batch_1..5.bin and test_batch.bin, or else of train*.bin and test*.bin")
        ->required();
    app->add_flag("--download", options->download, "First fetch the files into DIR (170 MB)")
        ->default_str("");
    app->add_option("--limit-train", options->limit_train, "Take the first N training images, before --valid")
        ->type_name("N")
        ->check(CLI::PositiveNumber)
        ->default_str("all");
    app->add_option("--limit-test", options->limit_test, "Take the first N test images")
        ->type_name("N")
        ->check(CLI::NonNegativeNumber)
        ->default_str("all");
    add_make_options(app, *options,
                     "Part of the training images to set apart for validation, drawn by --seed");
}

struct GaussOptions : MakeOptions {
    index_t size = 32, channels = 3, train = 10000, test = 1000;
    int threads = 0;
};

void make_gauss(const GaussOptions& options, const CommandLine& command) {
    const index_t size = options.size, channels = options.channels;
    const int threads = options.threads > 0 ? options.threads : omp_get_max_threads();
    glow::DatasetInfo info;
    info.name = "synthetic gauss";
    info.H = info.W = size;
    info.C = channels;
    info.entropy_bpd = glow::gauss_entropy_bpd(size, size, channels);
    const index_t counts[] = {options.train, valid_images(options, options.train), options.test};

    glow::DatasetWriter writer(options.output, info);
    const index_t image_bytes = size * size * channels;
    const index_t batch = std::clamp<index_t>((index_t{1} << 27) / image_bytes, 1, kBatch);
    std::vector<std::uint8_t> images(static_cast<std::size_t>(batch * image_bytes));
    for (int split = 0; split < 3; ++split) {
        for (index_t first = 0; first < counts[split]; first += batch) {
            const index_t count = std::min(batch, counts[split] - first);
            glow::make_gauss_images(options.seed, split * glow::kGaussSplitStride + first, count, size, size,
                                    channels, threads, images.data());
            writer.append(glow::kSplits[split], count, images.data(), nullptr);
        }
    }
    writer.commit();
    report(command, options.output);
}

void add_synthetic(CommandLine& command) {
    CLI::App* synthetic = command.subcommand("synthetic", "Images made by formula", nullptr);
    const auto options = std::make_shared<GaussOptions>();
    CLI::App* app = command.subcommand(
        "gauss", "Correlated Gaussian pixels of known entropy",
        [options, &command] { make_gauss(*options, command); }, synthetic);
    app->add_option("--size", options->size, "Height and width")->check(CLI::Range(1, 4096));
    app->add_option("--channels", options->channels, "Channels")->check(CLI::Range(1, 4));
    app->add_option("--train", options->train, "Training images")->check(CLI::PositiveNumber);
    app->add_option("--test", options->test, "Test images")->check(CLI::NonNegativeNumber);
    app->add_option("--threads", options->threads, "Threads, 0: all")->check(CLI::Range(0, 1024));
    add_make_options(app, *options, "Validation images, made besides, as a part of --train");
}

void describe(const std::string& path, const CommandLine& command) {
    const glow::DatasetInfo info = glow::describe_dataset(path);
    const auto bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
    std::string text = fmt::format(
        "file      {} ({:.1f} MiB)\nname      {}\nimages    {} x {} x {} (height, width, channels)", path,
        static_cast<double>(bytes) / (1 << 20), info.name.empty() ? "-" : info.name, info.H, info.W, info.C);
    for (const char* split : glow::kSplits)
        text += fmt::format("\n{:<10}{} images{}", split, info.images(split),
                            info.labels(split) ? ", labelled" : "");
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

struct ViewOptions {
    std::string path, grid = "8x8", split = "train", output;
    index_t scale = 0;
};

void view(const ViewOptions& options, const CommandLine& command) {
    const glow::GridSize grid = glow::parse_grid(options.grid);
    const glow::ImageSet set = glow::load_split(options.path, options.split, grid.tiles());
    const glow::Image sheet =
        glow::tile_images(set.images.data(), set.N, set.H, set.W, set.C, grid, options.scale);
    glow::write_png(options.output, sheet);
    command.say("{}: {} images, {} x {} pixels", options.output, set.N, sheet.W, sheet.H);
    if (command.json())
        command.result(
            "", {{"output", options.output}, {"images", set.N}, {"width", sheet.W}, {"height", sheet.H}});
}

void add_view(CommandLine& command) {
    const auto options = std::make_shared<ViewOptions>();
    CLI::App* app = command.subcommand("view", "Show images of a data set as one picture",
                                       [options, &command] { view(*options, command); });
    app->add_option("F", options->path, "The data set")->required();
    app->add_option("--grid", options->grid, "Rows x columns")->type_name("RxC");
    app->add_option("--split", options->split, "Split")->check(CLI::IsMember({"train", "valid", "test"}));
    app->add_option("--scale", options->scale, "Enlargement, 0: sides of at least 64 pixels")
        ->check(CLI::Range(0, 64));
    app->add_option("-o,--output", options->output, "The picture to write (PNG)")->required();
}

}  // namespace

int main(int argc, char** argv) {
    return glow::run_tool(argc, argv, "Makes, describes and shows data sets.", [](CommandLine& command) {
        add_cifar10(command);
        add_synthetic(command);
        add_info(command);
        add_view(command);
    });
}

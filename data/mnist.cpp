#include "data/mnist.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "data/formats/input_path.h"
#include "kernels/error.h"

namespace glow {
namespace {

// Finds a file under any accepted spelling; empty if it does not exist.
std::filesystem::path find(const std::filesystem::path& folder, const std::string& name,
                           const std::string& kind) {
    std::vector<std::string> names;
    for (const char* joint : {"-", "."})
        for (const char* end : {"", ".gz"}) names.push_back(name + joint + kind + end);
    return find_input_file(folder, names);
}

}  // namespace

std::optional<MnistSource::Files> MnistSource::open(const std::filesystem::path& folder,
                                                    const std::string& prefix) const {
    const auto image_path = find(folder, prefix + "-images", "idx3-ubyte");
    const auto label_path = find(folder, prefix + "-labels", "idx1-ubyte");
    if (image_path.empty() && label_path.empty()) return {};
    if (image_path.empty() || label_path.empty())
        throw InputError(fmt::format("{}: {}-{} is missing, but {} exists", folder.string(), prefix,
                                     image_path.empty() ? "images-idx3-ubyte" : "labels-idx1-ubyte",
                                     (image_path.empty() ? label_path : image_path).filename().string()));
    Files files{IdxReader(image_path), {}};
    const auto& shape = files.images.shape();
    if (shape.size() != 3 || shape[1] > kMnistSide || shape[2] > kMnistSide)
        throw InputError(fmt::format("{}: expected images [N, rows, columns] of at most {} x {}, found {}",
                                     image_path.string(), kMnistSide, kMnistSide, shape_text(shape)));
    IdxReader labels(label_path);
    if (labels.shape() != std::vector<index_t>{shape[0]})
        throw InputError(fmt::format("{}: expected {} labels, one per image, found {}", label_path.string(),
                                     shape[0], shape_text(labels.shape())));
    files.labels.resize(static_cast<std::size_t>(shape[0]));
    labels.read(shape[0], files.labels.data());
    return files;
}

MnistSource::MnistSource(const std::filesystem::path& folder) {
    if (const std::string problem = folder_problem(folder); !problem.empty())
        throw InputError(fmt::format("expected a folder of IDX files, found no folder at {}: {}",
                                     folder.string(), problem));
    refuse_same_file({find(folder, "train-images", "idx3-ubyte"), find(folder, "t10k-images", "idx3-ubyte")});
    train_ = open(folder, "train");
    test_ = open(folder, "t10k");
    if (!train_)
        throw InputError(fmt::format(
            "{}: expected train-images-idx3-ubyte and train-labels-idx1-ubyte (or .gz), found neither",
            folder.string()));
    info_ = {"mnist", kMnistSide, kMnistSide, 1, 0, train_->images.rows(), 0};
    if (test_) info_.test = test_->images.rows();
    for (const auto* files : {&train_, &test_})
        if (*files)
            for (const std::uint8_t label : (*files)->labels)
                info_.n_classes = std::max<std::int32_t>(info_.n_classes, label + 1);
}

void MnistSource::read(SourceSplit split, index_t first, index_t count, std::uint8_t* images,
                       std::int32_t* labels, std::uint8_t*) {
    Files& files = split == SourceSplit::train ? *train_ : *test_;
    const index_t H = files.images.shape()[1], W = files.images.shape()[2];
    const index_t top = (kMnistSide - H) / 2, left = (kMnistSide - W) / 2;
    std::vector<std::uint8_t> small(static_cast<std::size_t>(count * H * W));
    files.images.read(count, small.data());
    std::memset(images, 0, static_cast<std::size_t>(count * kMnistSide * kMnistSide));
    for (index_t n = 0; n < count; ++n) {
        labels[n] = files.labels[static_cast<std::size_t>(first + n)];
        for (index_t row = 0; row < H; ++row)
            std::memcpy(images + (n * kMnistSide + top + row) * kMnistSide + left,
                        small.data() + (n * H + row) * W, static_cast<std::size_t>(W));
    }
}

}  // namespace glow

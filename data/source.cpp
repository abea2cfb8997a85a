#include "data/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "data/class_split.h"
#include "kernels/error.h"

namespace glow {
namespace {

constexpr index_t kBatch = 1024;                   // maximum images per batch
constexpr index_t kBatchBytes = index_t{1} << 27;  // maximum pixel bytes per batch

// Copies the selected images and labels together.
struct Packed {
    std::vector<std::uint8_t> images;
    std::vector<std::int32_t> labels;
    std::vector<std::string> names;
    index_t count = 0;

    void clear() {
        images.clear();
        labels.clear();
        names.clear();
        count = 0;
    }
    void add(const std::uint8_t* image, index_t bytes, const std::int32_t* label, const std::string& name) {
        images.insert(images.end(), image, image + bytes);
        if (label != nullptr) labels.push_back(*label);
        if (!name.empty()) names.push_back(name);
        ++count;
    }
    void write(DatasetWriter& writer, const std::string& split, bool labeled) const {
        writer.append(split, count, images.data(), labeled ? labels.data() : nullptr, names);
    }
};

// draw_validation(). unit: what the labels are of, for the message.
std::vector<bool> draw_of(const std::vector<std::int32_t>& labels, std::int32_t n_classes,
                          const SplitOptions& options, const char* unit) {
    if (!(options.valid >= 0.0 && options.valid < 1.0))
        throw InputError(
            fmt::format("--valid: expected a fraction from 0 to below 1, found {}", options.valid));
    const index_t count = std::ssize(labels),
                  valid = std::llround(options.valid * static_cast<double>(count));
    if (count < 1 || valid >= count)
        throw InputError(
            fmt::format("{} {} with --valid {} leave none for training", count, unit, options.valid));
    return draw_holdout(labels, n_classes, valid, 1, options.seed, 0);
}

// Which of the first `train` training images are for validation. Several images of one photograph are all for
// validation, or none of them is.
std::vector<bool> draw_validation(const ImageSource& source, index_t train, const SplitOptions& options) {
    std::vector<std::int32_t> labels = source.labels(SourceSplit::train), of_group;
    const std::int32_t classes = labels.empty() ? 0 : source.info().n_classes;
    labels.resize(static_cast<std::size_t>(train));
    std::vector<index_t> groups = source.groups(SourceSplit::train);
    std::vector<std::size_t> number(labels.size());  // of an image's group, from 0
    for (std::size_t n = 0; n < labels.size(); ++n) {
        if (groups.empty() || n == 0 || groups[n] != groups[n - 1]) of_group.push_back(labels[n]);
        number[n] = of_group.size() - 1;
    }
    const std::vector<bool> drawn =
        draw_of(of_group, classes, options, std::ssize(of_group) < train ? "photographs" : "images");
    std::vector<bool> taken(labels.size());
    for (std::size_t n = 0; n < taken.size(); ++n) taken[n] = drawn[number[n]];
    return taken;
}

}  // namespace

std::vector<bool> draw_validation(const std::vector<std::int32_t>& labels, std::int32_t n_classes,
                                  const SplitOptions& options) {
    return draw_of(labels, n_classes, options, "images");
}

DatasetInfo write_dataset(const std::filesystem::path& path, ImageSource& source, const SplitOptions& options,
                          const std::function<void(index_t done, index_t total)>& progress) {
    const SourceInfo& from = source.info();
    const auto limited = [](index_t limit, index_t images) {
        return limit < 0 ? images : std::min(limit, images);
    };
    const index_t train = limited(options.limit_train, from.train);
    const index_t test = limited(options.limit_test, from.test);
    const std::vector<bool> take_out = draw_validation(source, train, options);

    DatasetInfo info;
    info.name = from.name;
    info.H = from.H;
    info.W = from.W;
    info.C = from.C;
    info.n_classes = from.n_classes;
    DatasetWriter writer(path, info);

    const bool labeled = from.n_classes > 0;
    const index_t bytes = from.image_bytes(), batch = std::clamp<index_t>(kBatchBytes / bytes, 1, kBatch);
    std::vector<std::uint8_t> images(static_cast<std::size_t>(batch * bytes));
    std::vector<std::int32_t> labels(static_cast<std::size_t>(batch));
    std::vector<std::uint8_t> usable(labels.size());
    Packed rest, out;
    for (const SourceSplit split : {SourceSplit::train, SourceSplit::test}) {
        const index_t N = split == SourceSplit::train ? train : test;
        for (index_t first = 0; first < N; first += batch) {
            const index_t count = std::min(batch, N - first);
            std::fill_n(usable.begin(), count, std::uint8_t{1});
            source.read(split, first, count, images.data(), labeled ? labels.data() : nullptr, usable.data());
            rest.clear();
            out.clear();
            for (index_t n = 0; n < count; ++n) {
                if (usable[static_cast<std::size_t>(n)] == 0) continue;
                const bool taken =
                    split == SourceSplit::train && take_out[static_cast<std::size_t>(first + n)];
                (taken ? out : rest)
                    .add(images.data() + n * bytes, bytes, labeled ? labels.data() + n : nullptr,
                         source.name(split, first + n));
            }
            rest.write(writer, split == SourceSplit::train ? "train" : "test", labeled);
            out.write(writer, "valid", labeled);
            (split == SourceSplit::train ? info.train : info.test) += rest.count;
            info.valid += out.count;
            if (progress) progress((split == SourceSplit::train ? 0 : train) + first + count, train + test);
        }
    }
    if (info.train == 0)
        throw InputError(fmt::format("none of the {} training images can be used",
                                     std::count(take_out.begin(), take_out.end(), false)));
    writer.commit();
    return info;
}

}  // namespace glow

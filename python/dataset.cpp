#include "python/dataset.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "kernels/error.h"
#include "python/arrays.h"

namespace glow {
namespace {

std::string describe_contents(const DatasetInfo& info) {
    return fmt::format(
        "{} training and {} validation images of {}x{}x{}{}", info.train, info.valid, info.H, info.W, info.C,
        info.n_classes > 0 ? fmt::format(" in {} classes", info.n_classes) : " without labels");
}

}  // namespace

ArrayDataset::ArrayDataset(const std::string& name, const py::dict& splits) {
    info_.name = name;
    for (const auto& [key, value] : splits) {
        const auto pair = value.cast<py::tuple>();
        Split split;
        split.name = key.cast<std::string>();
        split.images = pair[0].cast<py::array_t<std::uint8_t, py::array::c_style>>();
        if (!pair[1].is_none()) split.labels = pair[1].cast<py::array_t<std::int32_t, py::array::c_style>>();
        if (split.images.ndim() != 4 || split.images.size() == 0)
            throw InputError(fmt::format("{}: images must be uint8 [N, H, W, C], with N > 0, got [{}]",
                                         split.name, fmt::join(shape_of(split.images), ", ")));
        const bool first = splits_.empty();
        const index_t H = split.images.shape(1), W = split.images.shape(2), C = split.images.shape(3);
        if (!first && (H != info_.H || W != info_.W || C != info_.C))
            throw InputError("the images of all splits must have one shape");
        if (!first && split.labels.has_value() != splits_[0].labels.has_value())
            throw InputError("either all splits have labels or none");
        info_.H = H;
        info_.W = W;
        info_.C = C;
        split.N = split.images.shape(0);
        split.pixels = split.images.data();
        if (split.labels) {
            const auto& labels = *split.labels;
            if (labels.ndim() != 1 || labels.shape(0) != split.N)
                throw InputError(fmt::format("{}: expected one label for each image", split.name));
            split.classes = labels.data();
            const auto [low, high] = std::minmax_element(split.classes, split.classes + split.N);
            if (*low < 0 || *high >= kMaxClasses)
                throw InputError(fmt::format("{}: labels must be in 0 .. 2^20 - 1", split.name));
            info_.n_classes = std::max(info_.n_classes, *high + 1);
        }
        (split.name == "train" ? info_.train : split.name == "valid" ? info_.valid : info_.test) = split.N;
        splits_.push_back(std::move(split));
    }
}

void ArrayDataset::write(const std::filesystem::path& file) const {
    DatasetWriter writer(file, info_);
    for (const Split& split : splits_) writer.append(split.name, split.N, split.pixels, split.classes);
    writer.commit();
}

std::string ArrayDataset::difference(const std::filesystem::path& file) const {
    const DatasetReader reader(file);
    const DatasetInfo& info = reader.info();
    if (const std::string found = describe_contents(info), here = describe_contents(info_); found != here)
        return fmt::format("has {}, not {}", found, here);
    const index_t bytes = info.H * info.W * info.C, most = std::max<index_t>(1, (index_t{1} << 24) / bytes);
    std::vector<std::uint8_t> images(static_cast<std::size_t>(most * bytes));
    for (const Split& split : splits_) {
        for (index_t first = 0; first < split.N; first += most) {
            const index_t count = std::min(most, split.N - first);
            reader.read_images(split.name, first, count, images.data());
            if (!std::equal(images.begin(), images.begin() + count * bytes, split.pixels + first * bytes))
                return "has other images";
        }
        if (split.classes == nullptr) continue;
        const std::vector<std::int32_t> labels = reader.read_labels(split.name, split.N);
        if (!std::equal(labels.begin(), labels.end(), split.classes)) return "has other labels";
    }
    return "";
}

}  // namespace glow

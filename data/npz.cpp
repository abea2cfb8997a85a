// The constructor reads shapes and labels; pixels are read on request.
#include "data/npz.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "data/dataset.h"
#include "data/formats/input_path.h"
#include "data/npz_names.h"
#include "kernels/error.h"

namespace glow {
namespace {

constexpr index_t kMaxImageBytes = index_t{1} << 31;

// Integer square root, or 0 if not a square.
index_t square_side_or_zero(index_t pixels) {
    const auto side = static_cast<index_t>(std::llround(std::sqrt(static_cast<double>(pixels))));
    return side * side == pixels ? side : 0;
}

struct ImageShape {
    index_t H = 0, W = 0, C = 0;
    bool planes = false;
    bool operator==(const ImageShape&) const = default;
};

ImageShape image_shape(const NpyReader& data) {
    const NpyHeader& header = data.header();
    const auto& shape = header.shape;
    if (header.kind != 'u' || header.element_bytes != 1)
        throw InputError(fmt::format("{}: expected uint8, found {}", data.shown(), header.type_text()));
    ImageShape image;
    if (shape.size() == 2) {
        const index_t gray = square_side_or_zero(shape[1]),
                      color = shape[1] % 3 == 0 ? square_side_or_zero(shape[1] / 3) : 0;
        image = color > 0 ? ImageShape{color, color, 3, true} : ImageShape{gray, gray, 1, true};
    } else if (shape.size() == 3) {
        image = {shape[1], shape[2], 1, false};
    } else if (shape.size() == 4) {
        image = {shape[1], shape[2], shape[3], false};
    }
    if (image.H < 1 || image.W < 1 || image.C < 1 || image.C > 4 || shape[0] < 1 ||
        header.elements / shape[0] > kMaxImageBytes)
        throw InputError(fmt::format(
            "{}: expected [N, 3 S S], [N, S S], [N, H, W] or [N, H, W, C] with C in 1..4, found {}",
            data.shown(), shape_text(shape)));
    if (header.fortran_order)
        throw InputError(data.shown() +
                         ": is in Fortran order, which scatters each image over the file; save "
                         "numpy.ascontiguousarray of it");
    return image;
}

}  // namespace

NpzSource::NpzSource(const std::vector<std::filesystem::path>& files) {
    info_.name = "npz";
    refuse_same_file(files);
    const std::vector<bool> is_test = which_are_test(files, warnings_);
    ImageShape shape;
    std::int64_t least = kMaxClasses, most = -1;
    std::size_t labeled = 0;
    for (const SourceSplit split : {SourceSplit::train, SourceSplit::test}) {
        for (std::size_t n = 0; n < files.size(); ++n) {
            if (is_test[n] != (split == SourceSplit::test)) continue;
            const auto& path = files[n];
            const auto entries = list_zip(path);
            const NpyReader data(path, entries, "data");
            const ImageShape here = image_shape(data);
            if (shape.H == 0) shape = here;
            if (here != shape)
                throw InputError(
                    fmt::format("{}: expected images {} x {} x {} as in the first file, found {}",
                                data.shown(), shape.H, shape.W, shape.C, shape_text(data.header().shape)));
            File file{path, split, data.header().shape[0], {}};
            if (has_array(entries, "labels")) {
                NpyReader labels(path, entries, "labels");
                // [N] or [N, 1]: with two longer axes, the order in the file depends on fortran_order.
                const auto& axes = labels.header().shape;
                if (labels.header().elements != file.N ||
                    std::count_if(axes.begin(), axes.end(), [](index_t size) { return size > 1; }) > 1)
                    throw InputError(fmt::format("{}: expected {} labels, one per image, found {}",
                                                 labels.shown(), file.N, shape_text(axes)));
                file.labels = labels.read_integers();
                const auto [low, high] = std::minmax_element(file.labels.begin(), file.labels.end());
                if (*low < 0 || *high >= kMaxClasses)
                    throw InputError(fmt::format("{}: expected labels in 0..{}, found {}", labels.shown(),
                                                 kMaxClasses - 1, *low < 0 ? *low : *high));
                least = std::min(least, *low);
                most = std::max(most, *high);
                ++labeled;
            }
            (split == SourceSplit::train ? info_.train : info_.test) += file.N;
            files_.push_back(std::move(file));
        }
    }
    if (info_.train == 0)
        throw InputError(
            "expected at least one file of training images (a file name with val or test, in any "
            "case, means test images)");
    if (labeled != 0 && labeled != files_.size()) {
        const auto without =
            std::find_if(files_.begin(), files_.end(), [](const File& file) { return file.labels.empty(); });
        throw InputError(fmt::format("{}: has no labels, but other files do", without->path.string()));
    }
    first_label_ = least == 1 ? 1 : 0;
    info_.H = shape.H;
    info_.W = shape.W;
    info_.C = shape.C;
    info_.n_classes = static_cast<std::int32_t>(most + 1 - (labeled > 0 ? first_label_ : 0));
    planes_ = shape.planes;
    open(0);
}

void NpzSource::open(std::size_t file) {
    opened_ = file;
    left_ = files_[file].N;
    data_ = std::make_unique<NpyReader>(files_[file].path, list_zip(files_[file].path), "data");
    if (data_->header().shape[0] != left_ || data_->header().elements != left_ * info_.image_bytes())
        throw InputError(data_->shown() + ": the file changed while it was read");
}

void NpzSource::read(SourceSplit split, index_t first, index_t count, std::uint8_t* images,
                     std::int32_t* labels, std::uint8_t*) {
    const index_t bytes = info_.image_bytes(), pixels = info_.H * info_.W;
    // With a limit on training images, the test files are read before the last training files.
    if (first == 0 && split == SourceSplit::test && files_[opened_].split == SourceSplit::train)
        open(static_cast<std::size_t>(
            std::find_if(files_.begin(), files_.end(),
                         [](const File& f) { return f.split == SourceSplit::test; }) -
            files_.begin()));
    while (count > 0) {
        if (left_ == 0) open(opened_ + 1);
        const File& file = files_[opened_];
        const index_t here = std::min(count, left_);
        if (labels != nullptr)
            for (index_t n = 0; n < here; ++n)
                labels[n] = static_cast<std::int32_t>(
                    file.labels[static_cast<std::size_t>(file.N - left_ + n)] - first_label_);
        buffer_.resize(static_cast<std::size_t>(bytes));
        for (index_t n = 0; n < here; ++n) {
            std::uint8_t* image = images + n * bytes;
            if (!planes_) {
                data_->read(bytes, image);
                continue;
            }
            data_->read(bytes, buffer_.data());
            for (index_t c = 0; c < info_.C; ++c)
                for (index_t p = 0; p < pixels; ++p)
                    image[p * info_.C + c] = buffer_[static_cast<std::size_t>(c * pixels + p)];
        }
        images += here * bytes;
        if (labels != nullptr) labels += here;
        count -= here;
        left_ -= here;
    }
}

}  // namespace glow

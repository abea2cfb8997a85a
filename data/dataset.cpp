#include "data/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "data/formats/output_name.h"
#include "data/formats/photo.h"
#include "data/photo_files.h"
#include "kernels/error.h"

namespace glow {
namespace {

[[noreturn]] void refuse(const Hdf5File& file, const std::string& what) {
    throw InputError(fmt::format("{}: {}", file.path().string(), what));
}

index_t& count_of(DatasetInfo& info, const std::string& split) {
    return split == "train" ? info.train : split == "valid" ? info.valid : info.test;
}

void check_split_name(const std::string& split) {
    if (std::find(std::begin(kSplits), std::end(kSplits), split) == std::end(kSplits))
        throw InputError(fmt::format("expected split train, valid or test, found \"{}\"", split));
}

// Adds one split to the description and checks it against the splits before it.
void describe_split(const Hdf5File& file, const std::string& split, DatasetInfo& info) {
    const std::string images = fmt::format("/{}/images", split), labels = fmt::format("/{}/labels", split);
    if (!file.exists(images)) {
        if (split == "train") refuse(file, "/train/images is missing; every data set needs it");
        if (file.exists(labels)) refuse(file, fmt::format("{} exists but {} is missing", labels, images));
        return;
    }
    const std::vector<index_t> shape = file.describe_as<std::uint8_t>(images).shape;
    if (shape.size() != 4 || *std::min_element(shape.begin(), shape.end()) < 1 || shape[3] > 4)
        refuse(file, fmt::format("{}: expected shape [N, H, W, C] with N, H, W >= 1 and C in 1..4, found {}",
                                 images, shape_text(shape)));
    if (info.H == 0) {
        info.H = shape[1];
        info.W = shape[2];
        info.C = shape[3];
    }
    if (shape[1] != info.H || shape[2] != info.W || shape[3] != info.C)
        refuse(file, fmt::format("{}: expected images [{}, {}, {}] like /train, found shape {}", images,
                                 info.H, info.W, info.C, shape_text(shape)));
    count_of(info, split) = shape[0];

    const std::string names = fmt::format("/{}/names", split);
    if (file.exists(names)) {
        if (const auto found = file.describe(names).shape; found != std::vector<index_t>{shape[0]})
            refuse(file,
                   fmt::format("{}: expected shape [{}], found {}", names, shape[0], shape_text(found)));
        (split == "train" ? info.train_names : split == "valid" ? info.valid_names : info.test_names) = true;
    }
    if (!file.exists(labels)) return;
    if (const auto found = file.describe_as<std::int32_t>(labels).shape;
        found != std::vector<index_t>{shape[0]})
        refuse(file, fmt::format("{}: expected shape [{}], found {}", labels, shape[0], shape_text(found)));
    const std::int64_t n_classes = file.integer_attribute(labels, "n_classes");
    if (n_classes < 1 || n_classes > kMaxClasses)
        refuse(file,
               fmt::format("{}: expected n_classes in 1..{}, found {}", labels, kMaxClasses, n_classes));
    if (info.n_classes != 0 && info.n_classes != n_classes)
        refuse(file, fmt::format("{}: expected n_classes = {} like the other splits, found {}", labels,
                                 info.n_classes, n_classes));
    info.n_classes = static_cast<std::int32_t>(n_classes);
    (split == "train" ? info.train_labels : split == "valid" ? info.valid_labels : info.test_labels) = true;
}

void check_is_dataset(const Hdf5File& file) {
    if (!file.has_attribute("/", "format"))
        refuse(
            file,
            "is not a Glow data set: root attribute format is missing (expected \"glow-dataset\"; glow_data "
            "makes data sets)");
    const std::string format = file.string_attribute("/", "format");
    if (format != "glow-dataset")
        refuse(file, fmt::format("is not a Glow data set: expected format \"glow-dataset\", found \"{:.60}\"",
                                 format));
    const std::int64_t version = file.integer_attribute("/", "version");
    if (version != 1) refuse(file, fmt::format("expected version 1 of the format, found {}", version));
}

Hdf5File open_dataset(const std::filesystem::path& path) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) {
        refuse_run_folder(path);
        throw InputError(fmt::format(
            "{}: expected a data set (an HDF5 file), found a folder; glow_data images makes one of "
            "the photographs in it",
            path.string()));
    }
    if (std::filesystem::is_regular_file(path, ignored) && is_photo_name(path))
        throw InputError(fmt::format(
            "{}: expected a data set (an HDF5 file made by glow_data) or a folder of photographs, found a picture",
            path.string()));
    return Hdf5File::open(path);
}

}  // namespace

index_t DatasetInfo::images(const std::string& split) const {
    check_split_name(split);
    return split == "train" ? train : split == "valid" ? valid : test;
}

bool DatasetInfo::labels(const std::string& split) const {
    check_split_name(split);
    return split == "train" ? train_labels : split == "valid" ? valid_labels : test_labels;
}

bool DatasetInfo::names(const std::string& split) const {
    check_split_name(split);
    return split == "train" ? train_names : split == "valid" ? valid_names : test_names;
}

DatasetReader::DatasetReader(const std::filesystem::path& path) : file_(open_dataset(path)) {
    check_is_dataset(file_);
    if (file_.has_attribute("/", "name")) info_.name = file_.string_attribute("/", "name");
    if (file_.has_attribute("/", "entropy_bpd")) {
        info_.entropy_bpd = file_.number_attribute("/", "entropy_bpd");
        if (!std::isfinite(*info_.entropy_bpd))
            refuse(file_, fmt::format("attribute entropy_bpd: expected a finite number, found {}",
                                      *info_.entropy_bpd));
    }
    for (const char* split : kSplits) describe_split(file_, split, info_);
}

void DatasetReader::read_images(const std::string& split, index_t first, index_t count,
                                std::uint8_t* images) const {
    if (info_.images(split) == 0) refuse(file_, fmt::format("has no split \"{}\"", split));
    file_.read_rows(fmt::format("/{}/images", split), first, count, images);
}

void DatasetReader::read_scattered(const std::string& split, const index_t* numbers, index_t count,
                                   std::uint8_t* images) const {
    if (info_.images(split) == 0) refuse(file_, fmt::format("has no split \"{}\"", split));
    file_.read_scattered_rows(fmt::format("/{}/images", split), numbers, count, images);
}

std::vector<std::int32_t> DatasetReader::read_labels(const std::string& split, index_t count) const {
    const std::string name = fmt::format("/{}/labels", split);
    if (!info_.labels(split)) refuse(file_, name + " is missing");
    if (count < 0 || count > info_.images(split))
        refuse(file_, fmt::format("{}: expected {} labels, found {}", name, count, info_.images(split)));
    std::vector<std::int32_t> labels(static_cast<std::size_t>(count));
    file_.read_rows(name, 0, count, labels.data());
    for (index_t n = 0; n < count; ++n) {
        const std::int32_t label = labels[static_cast<std::size_t>(n)];
        if (label < 0 || label >= info_.n_classes)
            refuse(file_, fmt::format("{}: expected labels in 0..{}, found {} for image {}", name,
                                      info_.n_classes - 1, label, n));
    }
    return labels;
}

std::vector<std::string> DatasetReader::read_names(const std::string& split, index_t count) const {
    if (!info_.names(split)) return {};
    std::vector<std::string> names = file_.read_strings(fmt::format("/{}/names", split));
    names.resize(static_cast<std::size_t>(std::clamp<index_t>(count, 0, std::ssize(names))));
    return names;
}

DatasetInfo describe_dataset(const std::filesystem::path& path) {
    return DatasetReader(path).info();
}

namespace {

// The split's description and labels, without pixels.
ImageSet without_pixels(const DatasetReader& reader, const std::string& split, index_t limit) {
    const DatasetInfo& info = reader.info();
    ImageSet set;
    set.N = limit < 0 ? info.images(split) : std::min(limit, info.images(split));
    set.H = info.H;
    set.W = info.W;
    set.C = info.C;
    if (info.labels(split)) {
        set.labels = reader.read_labels(split, set.N);
        set.n_classes = info.n_classes;
    }
    return set;
}

}  // namespace

ImageSet load_split(const std::filesystem::path& path, const std::string& split, index_t limit) {
    const DatasetReader reader(path);
    ImageSet set = without_pixels(reader, split, limit);
    set.images.resize(static_cast<std::size_t>(set.N * set.image_bytes()));
    reader.read_images(split, 0, set.N, set.images.data());
    return set;
}

SplitImages::SplitImages(ImageSet set) : set_(std::move(set)) {}

SplitImages::SplitImages(const std::filesystem::path& path, const std::string& split, index_t limit)
    : split_(split), reader_(std::make_unique<DatasetReader>(path)) {
    set_ = without_pixels(*reader_, split, limit);
    std::vector<std::uint8_t> first(static_cast<std::size_t>(set_.image_bytes()));
    reader_->read_images(split, 0, 1, first.data());  // throws if the split does not exist
}

void SplitImages::gather(const index_t* numbers, index_t count, std::uint8_t* pixels) const {
    const auto bytes = static_cast<std::size_t>(set_.image_bytes());
    if (!on_disk()) {
        for (index_t i = 0; i < count; ++i)
            std::memcpy(pixels + i * set_.image_bytes(), set_.image(numbers[i]), bytes);
        return;
    }
    // Read in file order: neighbors share a chunk, and a hard disk seeks in one direction. Images adjacent in
    // the request and in the file are read together.
    std::vector<index_t> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), index_t{0});
    std::sort(order.begin(), order.end(), [&](index_t a, index_t b) { return numbers[a] < numbers[b]; });
    for (index_t i = 0, run = 1; i < count; i += run) {
        run = 1;
        while (i + run < count && order[i + run] == order[i] + run) ++run;
        reader_->read_scattered(split_, numbers + order[i], run, pixels + order[i] * set_.image_bytes());
    }
}

DatasetWriter::DatasetWriter(const std::filesystem::path& path, const DatasetInfo& info)
    : atomic_(path), file_(Hdf5File::create(atomic_.temporary(), path)), info_(info) {
    refuse_other_name(path, "an HDF5 file");
    if (info.H < 1 || info.W < 1 || info.C < 1 || info.C > 4 || info.H > 65536 || info.W > 65536 ||
        info.H * info.W * info.C > (index_t{1} << 31))
        throw InputError(
            fmt::format("expected images of 1..4 channels, sides of at least 1 and at most 2 GiB, found "
                        "[{}, {}, {}]",
                        info.H, info.W, info.C));
    for (const char* split : kSplits) count_of(info_, split) = 0;
    file_.set_string("/", "format", "glow-dataset");
    file_.set_integer("/", "version", 1);
    if (!info.name.empty()) file_.set_string("/", "name", info.name);
    if (info.entropy_bpd) file_.set_number("/", "entropy_bpd", *info.entropy_bpd);
}

void DatasetWriter::append(const std::string& split, index_t count, const std::uint8_t* images,
                           const std::int32_t* labels, const std::vector<std::string>& names) {
    check_split_name(split);
    if (count == 0) return;
    if (!names.empty() && std::ssize(names) != count)
        throw Error(fmt::format("DatasetWriter: expected {} names, found {}", count, names.size()));
    names_[split].insert(names_[split].end(), names.begin(), names.end());
    if ((labels != nullptr) != (info_.n_classes > 0))
        throw Error(
            "DatasetWriter: with n_classes every split needs labels, without it none may have labels");
    const std::string image_name = fmt::format("/{}/images", split),
                      label_name = fmt::format("/{}/labels", split);
    index_t& written = count_of(info_, split);
    if (written == 0) {
        file_.create_growing<std::uint8_t>(image_name, {info_.H, info_.W, info_.C});
        if (labels != nullptr) {
            file_.create_growing<std::int32_t>(label_name, {});
            file_.set_integer(label_name, "n_classes", info_.n_classes);
        }
    }
    file_.append(image_name, count, images);
    if (labels != nullptr) file_.append(label_name, count, labels);
    written += count;
}

void DatasetWriter::commit() {
    if (info_.train == 0)
        throw Error(fmt::format("{}: a data set needs at least one training image", file_.path().string()));
    for (const auto& [split, names] : names_)
        if (!names.empty()) file_.write_strings(fmt::format("/{}/names", split), names);
    file_.close();
    atomic_.commit();
}

std::string describe_empty_classes(const DatasetReader& reader) {
    const DatasetInfo& info = reader.info();
    if (!info.train_labels) return "";
    std::vector<bool> found(static_cast<std::size_t>(info.n_classes));
    for (const std::int32_t label : reader.read_labels("train", info.train))
        found[static_cast<std::size_t>(label)] = true;
    std::string empty;
    constexpr int kMaxNamed = 10;
    int count = 0;
    for (std::size_t label = 0; label < found.size(); ++label)
        if (!found[label] && ++count <= kMaxNamed) empty += fmt::format("{}{}", count > 1 ? ", " : "", label);
    if (count > kMaxNamed) empty += ", ...";
    if (count == 0) return "";
    return fmt::format(
        "{} of the {} classes {} no training image, so a conditional model does not learn {}: {}", count,
        info.n_classes, count == 1 ? "has" : "have", count == 1 ? "it" : "them", empty);
}

}  // namespace glow

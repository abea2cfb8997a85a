// Listing once, decoding batch by batch on all threads.
#include "data/image_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <iterator>
#include <mutex>
#include <optional>

#include "data/class_split.h"
#include "data/formats/input_path.h"
#include "data/formats/photo.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

// Larger photographs are decoded one at a time, so that memory does not grow with the number of threads. A file
// may be small and have many pixels.
constexpr index_t kLargeBytes = index_t{1} << 22, kLargePixels = index_t{1} << 25;
constexpr index_t kStay = 2;            // images of a class that are not for testing: training and validation
constexpr std::uint64_t kTestPass = 1;  // of shuffled(); pass 0 draws the validation images

// f(n, one_large) for n = 0 .. count - 1 on all threads. What f throws is thrown by the calling thread.
template <class F>
void for_each_photo(index_t count, int threads, const F& f) {
    std::exception_ptr failure;
    std::mutex one_large, one_failure;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (index_t n = 0; n < count; ++n) {
        try {
            f(n, one_large);
        } catch (...) {  // out of memory, for example: nothing may leave the parallel loop
            const std::lock_guard lock(one_failure);
            failure = std::current_exception();
        }
    }
    if (failure) std::rethrow_exception(failure);
}

// The photograph, or none and the reason. For a large one, takes the lock, which should outlive it.
std::optional<Image> read_or_explain(const fs::path& path, index_t channels,
                                     std::unique_lock<std::mutex>& lock, std::string& problem) {
    try {
        std::error_code ignored;
        if (static_cast<index_t>(fs::file_size(path, ignored)) > kLargeBytes) lock.lock();
        return read_photo(path, channels, [&lock](index_t H, index_t W) {
            if (H * W > kLargePixels && !lock.owns_lock()) lock.lock();
        });
    } catch (const InputError& error) {
        problem = file_problem(path);
        problem =
            problem.empty() ? error.what() : fmt::format("{}: cannot be read: {}", path.string(), problem);
        return {};
    }
}

std::string too_small(const fs::path& path, const Image& photo, const ImageSize& needed) {
    return fmt::format("{}: {}x{} pixels (height x width), fewer than {}x{}", path.string(), photo.H, photo.W,
                       needed.H, needed.W);
}

// How many tiles of `side` fit along `length` if each begins `stride` after the previous one.
index_t tiles_along(index_t length, index_t side, index_t stride) {
    return length < side ? 0 : (length - side) / stride + 1;
}

index_t stride_of(index_t side, double overlap) {
    return std::max<index_t>(1, std::llround(static_cast<double>(side) * (1 - overlap)));
}

bool in_no_folder(const std::string& name) {
    return !fs::path(name).has_parent_path();
}
std::string class_name(const std::string& name) {
    return fs::path(name).begin()->string();
}

}  // namespace

// A photograph outside of the class folders may be linked into one of them, which is then its class.
void ImageFolder::give_one_class_each() {
    std::map<std::string, File*> files;
    for (File& file : files_) files.emplace(file.name, &file);
    for (const auto& [name, same_as] : repeats_) {
        const auto found = files.find(same_as);
        if (found == files.end() || in_no_folder(name)) continue;
        std::string& used = found->second->name;
        if (in_no_folder(used))
            used = name;
        else if (class_name(used) != class_name(name))
            throw InputError(
                fmt::format("{}: {} and {} are the same file in two classes; remove one, or use --no-classes",
                            folder_.string(), used, name));
    }
    std::sort(files_.begin(), files_.end(),
              [](const File& a, const File& b) { return fs::path(a.name) < fs::path(b.name); });
}

// A class that vanishes, because its folder is a link to another one, or it or all of its photographs are
// dangling links, would change the labels of those after it.
void ImageFolder::require_all_classes() const {
    if (!folder_repeats_.empty()) {
        const auto& [link, photo] = folder_repeats_.front();
        throw InputError(fmt::format(
            "{}: {} is a symbolic link to a folder with photographs of another class, such as {}; remove the link, or "
            "use --no-classes",
            folder_.string(), link, photo));
    }
    std::vector<std::string> missing;
    for (const auto& [name, problem] : unreadable_) {
        if (in_no_folder(name) && is_photo_name(name)) continue;
        if (!std::binary_search(classes_.begin(), classes_.end(), class_name(name)))
            missing.push_back(problem);
    }
    if (!missing.empty())
        throw InputError(fmt::format(
            "{}: cannot read every class, and without one the labels of the others would change: {}; restore "
            "or remove what cannot be read, or use --no-classes",
            folder_.string(), join_problems(missing)));
}

// Labels from the first folder of each path. Files in no folder are left out.
void ImageFolder::set_classes() {
    const auto is_outside = [](const auto& file) { return in_no_folder(file.name); };
    const bool mixed = std::any_of(files_.begin(), files_.end(), is_outside) ||
                       std::any_of(repeats_.begin(), repeats_.end(), is_outside);
    if (files_.empty() || !options_.classes.value_or(!mixed)) return;
    give_one_class_each();
    const auto lost = std::erase_if(files_, is_outside);
    for (File& file : files_) {
        const std::string name = class_name(file.name);
        if (classes_.empty() || classes_.back() != name) classes_.push_back(name);
        file.label = static_cast<std::int32_t>(classes_.size()) - 1;
    }
    if (!options_.strict) require_all_classes();  // strict: any skipped file is an error
    if (lost > 0)
        skipped_.push_back(fmt::format("{}: {} in no folder, so of no class", folder_.string(),
                                       lost == 1 ? "1 image is" : fmt::format("{} images are", lost)));
    if (classes_.size() >= 2) return;
    if (options_.classes)
        throw InputError(fmt::format("--classes: expected two folders of images or more in {}, found {}",
                                     folder_.string(), classes_.size()));
    classes_.clear();
}

ImageFolder::ImageFolder(const fs::path& folder, const ImageFolderOptions& options) try
    : folder_(folder), options_(options), side_(options.crop_side > 0 ? options.crop_side : options.size) {
    if (!(options.test >= 0.0 && options.test < 1.0))
        throw InputError(
            fmt::format("--test: expected a fraction from 0 to below 1, found {}", options.test));
    if (!(options.overlap >= 0.0 && options.overlap < 1.0))
        throw InputError(
            fmt::format("--overlap: expected a fraction from 0 to below 1, found {}", options.overlap));
    if (side_ < options.size)
        throw InputError(fmt::format("--crop-side {} is smaller than --size {}: images are not enlarged",
                                     side_, options.size));
    PhotoFiles listed = list_photos(folder);
    for (std::string& name : listed.names) files_.push_back({std::move(name)});
    skipped_ = std::move(listed.skipped);
    other_files_ = std::move(listed.other_files);
    repeats_ = std::move(listed.repeats);
    folder_repeats_ = std::move(listed.folder_repeats);
    unreadable_ = std::move(listed.unreadable);
    set_classes();
    if (options.tile) measure();
    std::sort(skipped_.begin(), skipped_.end());
    if (options.strict && !skipped_.empty()) throw InputError(join_problems(skipped_) + " (--strict)");
    if (files_.empty() && !skipped_.empty())
        throw InputError(
            fmt::format("{}: no image can be read: {}", folder.string(), join_problems(skipped_)));
    if (files_.empty()) throw InputError(no_photos(folder, other_files_));
    draw_test_files();
    limit(train_, options.limit_train);
    limit(test_, options.limit_test);
    info_.name = fs::weakly_canonical(folder).filename().string();
    info_.H = made().H;
    info_.W = made().W;
    info_.C = options.channels;
    info_.n_classes = static_cast<std::int32_t>(classes_.size());
    info_.train = std::ssize(train_);
    info_.test = std::ssize(test_);
} catch (const fs::filesystem_error& error) {
    throw InputError(fmt::format("cannot open folder {}: {}", folder.string(), error.code().message()));
}

// Reads the sizes of all photographs, which determine their numbers of tiles. Skips those that cannot be read
// or tiled.
void ImageFolder::measure() {
    std::vector<std::string> problems(files_.size());
    for_each_photo(std::ssize(files_), options_.threads, [&](index_t n, std::mutex& one_large) {
        File& file = files_[static_cast<std::size_t>(n)];
        std::string& problem = problems[static_cast<std::size_t>(n)];
        std::unique_lock<std::mutex> large(one_large, std::defer_lock);
        const std::optional<Image> photo =
            read_or_explain(folder_ / file.name, options_.channels, large, problem);
        if (!photo) return;
        file.H = photo->H;
        file.W = photo->W;
        if (!crop_of(n, 0, file.H, file.W)) problem = too_small(folder_ / file.name, *photo, smallest());
    });
    std::vector<File> usable;
    for (std::size_t n = 0; n < files_.size(); ++n) {
        if (problems[n].empty())
            usable.push_back(std::move(files_[n]));
        else
            skipped_.push_back(std::move(problems[n]));
    }
    files_ = std::move(usable);
}

index_t ImageFolder::images_of(const File& file) const {
    if (!options_.tile) return std::max<index_t>(1, options_.crops);
    const index_t stride = stride_of(side_, options_.overlap);
    return tiles_along(file.H, side_, stride) * tiles_along(file.W, side_, stride);
}

std::optional<Crop> ImageFolder::crop_of(index_t file, index_t number, index_t H, index_t W) const {
    if (H < smallest().H || W < smallest().W) return {};
    if (whole()) return centered_crop({H, W}, made());
    const index_t side = side_;
    if (options_.tile) {
        const index_t stride = stride_of(side, options_.overlap), columns = tiles_along(W, side, stride),
                      rows = tiles_along(H, side, stride);
        const index_t left = (W - side - (columns - 1) * stride) / 2,
                      top = (H - side - (rows - 1) * stride) / 2;
        return Crop{left + number % columns * stride, top + number / columns * stride, {side, side}};
    }
    const PhiloxWords words = philox_block(options_.seed, Purpose::crop, static_cast<std::uint64_t>(file),
                                           static_cast<std::uint64_t>(number));
    const auto drawn = [](std::uint32_t word, index_t choices) {
        return static_cast<index_t>(philox_uniform(word) * static_cast<double>(choices));
    };
    return Crop{drawn(words.word[0], W - side + 1), drawn(words.word[1], H - side + 1), {side, side}};
}

void ImageFolder::draw_test_files() {
    const index_t test = std::llround(options_.test * static_cast<double>(files_.size()));
    std::vector<std::int32_t> labels;
    for (const File& file : files_) labels.push_back(file.label);
    const std::vector<bool> is_test = draw_holdout(labels, static_cast<std::int32_t>(classes_.size()), test,
                                                   kStay, options_.seed, kTestPass);
    for (index_t n = 0; n < std::ssize(files_); ++n)
        for (index_t number = 0; number < images_of(files_[static_cast<std::size_t>(n)]); ++number)
            (is_test[static_cast<std::size_t>(n)] ? test_ : train_).push_back({n, number});
    if (train_.empty())
        throw InputError(fmt::format("{}: {} photographs with --test {} leave none for training",
                                     folder_.string(), files_.size(), options_.test));
}

// Keeps the first images of each class, as equal in number as the class sizes allow.
void ImageFolder::limit(std::vector<Item>& items, index_t most) const {
    if (most < 0) return;
    std::vector<index_t> sizes(std::max<std::size_t>(1, classes_.size()), 0);
    const auto number = [&](const Item& item) {
        return static_cast<std::size_t>(files_[static_cast<std::size_t>(item.file)].label);
    };
    for (const Item& item : items) ++sizes[number(item)];
    std::vector<index_t> quotas = spread_over_classes(sizes, most);
    std::erase_if(items, [&](const Item& item) { return quotas[number(item)]-- <= 0; });
}

std::vector<std::int32_t> ImageFolder::labels(SourceSplit split) const {
    std::vector<std::int32_t> labels;
    if (classes_.empty()) return labels;
    for (const Item& item : items(split)) labels.push_back(files_[static_cast<std::size_t>(item.file)].label);
    return labels;
}

std::vector<fs::path> ImageFolder::files() const {
    std::vector<fs::path> files;
    for (const File& file : files_) files.push_back(folder_ / file.name);
    return files;
}

std::vector<index_t> ImageFolder::groups(SourceSplit split) const {
    std::vector<index_t> groups;
    for (const Item& item : items(split)) groups.push_back(item.file);
    return groups;
}

std::string ImageFolder::name(SourceSplit split, index_t n) const {
    const Item& item = items(split)[static_cast<std::size_t>(n)];
    const std::string& file = files_[static_cast<std::size_t>(item.file)].name;
    if (whole()) return file;
    const auto& [x, y, size] = item.crop;
    return fmt::format("{}[{}x{}+{}+{}]", file, size.W, size.H, x, y);
}

std::vector<std::string> ImageFolder::untrained_classes() const {
    std::vector<bool> found(classes_.size());
    for (const std::int32_t label : labels(SourceSplit::train)) found[static_cast<std::size_t>(label)] = true;
    std::vector<std::string> names;
    for (std::size_t c = 0; c < classes_.size(); ++c)
        if (!found[c]) names.push_back(classes_[c]);
    return names;
}

void ImageFolder::read(SourceSplit split, index_t first, index_t count, std::uint8_t* images,
                       std::int32_t* labels, std::uint8_t* usable) {
    Item* const batch = (split == SourceSplit::train ? train_ : test_).data() + first;
    // A photograph is decoded once for all of its images in the batch.
    std::vector<index_t> begin;
    for (index_t n = 0; n < count; ++n)
        if (n == 0 || batch[n].file != batch[n - 1].file) begin.push_back(n);
    const index_t photos = std::ssize(begin);
    begin.push_back(count);
    std::vector<std::string> problems(static_cast<std::size_t>(photos));
    for_each_photo(photos, options_.threads, [&](index_t p, std::mutex& one_large) {
        const index_t last = begin[static_cast<std::size_t>(p) + 1];
        index_t n = begin[static_cast<std::size_t>(p)];
        const File& file = files_[static_cast<std::size_t>(batch[n].file)];
        const fs::path path = folder_ / file.name;
        std::string& problem = problems[static_cast<std::size_t>(p)];
        std::unique_lock<std::mutex> large(one_large, std::defer_lock);
        const std::optional<Image> photo = read_or_explain(path, options_.channels, large, problem);
        for (; n < last; ++n) {
            if (labels != nullptr) labels[n] = file.label;
            const auto crop =
                photo ? crop_of(batch[n].file, batch[n].number, photo->H, photo->W) : std::nullopt;
            usable[n] = crop ? 1 : 0;
            if (!crop) continue;
            batch[n].crop = *crop;
            shrink(*photo, *crop, made(), images + n * info_.image_bytes());
        }
        if (photo && usable[last - 1] == 0) problem = too_small(path, *photo, smallest());
    });
    std::erase(problems, "");
    if (options_.strict && !problems.empty()) throw InputError(join_problems(problems) + " (--strict)");
    std::move(problems.begin(), problems.end(), std::back_inserter(skipped_));
}

}  // namespace glow

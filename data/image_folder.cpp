#include "data/image_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <exception>
#include <iterator>
#include <mutex>

#include "data/class_split.h"
#include "data/formats/input_path.h"
#include "data/formats/photo.h"
#include "kernels/error.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

constexpr index_t kLargeBytes = index_t{1} << 22;  // larger files are decoded one at a time to limit memory
constexpr index_t kStay = 2;            // minimum images per class kept for training and validation
constexpr std::uint64_t kTestPass = 1;  // pass of shuffled(); pass 0 draws the validation images

bool is_image_name(const fs::path& path) {
    std::string ending = path.extension().string();
    for (char& character : ending)
        character = static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
    return ending == ".png" || ending == ".jpg" || ending == ".jpeg";
}

// Does the link point to `folder` or one of its parents? Listing it would add other classes' images as a
// class.
bool leads_back(const fs::directory_entry& entry, const fs::path& folder) {
    std::error_code failed;
    if (!entry.is_symlink(failed)) return false;
    const fs::path target = fs::canonical(entry.path(), failed);
    const fs::path inside = fs::canonical(folder, failed).lexically_relative(target);
    return !inside.empty() && *inside.begin() != "..";
}

}  // namespace

void ImageFolder::list(const fs::path& below, std::int32_t label, std::vector<File>& files,
                       std::vector<std::string>* folders) {
    const std::size_t first = files.size();
    const fs::path listed = folder_ / below;
    std::error_code failed, ignored;
    for (fs::directory_iterator entry(listed, failed), end; !failed && entry != end;
         entry.increment(failed)) {
        const std::string name = entry->path().filename().string();
        if (name.starts_with('.')) continue;
        const auto skip = [&](const std::string& problem) {
            skipped_.push_back(fmt::format("{}: {}", entry->path().string(), problem));
        };
        if (entry->is_directory(ignored)) {
            if (folders == nullptr && is_image_name(entry->path()))
                skip("cannot be read: a folder, not a file");
            else if (folders != nullptr && leads_back(*entry, listed))
                skip("symbolic link to one of its parent folders");
            else if (folders != nullptr)
                folders->push_back(name);
        } else if (entry->is_regular_file(ignored)) {
            if (is_image_name(entry->path()))
                files.push_back({(below / name).string(), label});
            else
                ++other_files_;
        } else if (is_image_name(entry->path()) ||
                   (folders != nullptr && entry->is_symlink(ignored) && !entry->exists(ignored))) {
            const std::string problem = file_problem(entry->path());
            skip("cannot be read: " + (problem.empty() ? "it changed while it was read" : problem));
        } else {
            ++other_files_;
        }
    }
    if (failed) {
        if (below.empty())
            throw InputError(fmt::format("cannot open folder {}: {}", listed.string(), failed.message()));
        skipped_.push_back(fmt::format("{}: cannot list the folder: {}", listed.string(), failed.message()));
    }
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(first), files.end(),
              [](const File& a, const File& b) { return a.name < b.name; });
}

ImageFolder::ImageFolder(const fs::path& folder, const ImageFolderOptions& options) try
    : folder_(folder), options_(options) {
    if (!(options.test >= 0.0 && options.test < 1.0))
        throw InputError(
            fmt::format("--test: expected a fraction from 0 to below 1, found {}", options.test));
    if (const std::string problem = folder_problem(folder); !problem.empty())
        throw InputError(
            fmt::format("expected a folder of images, found no folder at {}: {}", folder.string(), problem));
    std::vector<File> files;
    std::vector<std::string> folders;
    list("", 0, files, &folders);
    const std::size_t at_top = files.size();
    std::sort(folders.begin(), folders.end());
    for (const std::string& name : folders) {
        const std::size_t before = files.size();
        list(name, static_cast<std::int32_t>(classes_.size()), files, nullptr);
        if (files.size() > before) classes_.push_back(name);
    }
    std::sort(skipped_.begin(), skipped_.end());
    if (options.strict && !skipped_.empty()) throw InputError(join_problems(skipped_) + " (--strict)");
    if (files.empty() && !skipped_.empty())
        throw InputError(
            fmt::format("{}: no image can be read: {}", folder.string(), join_problems(skipped_)));
    if (files.empty())
        throw InputError(
            fmt::format("{}: found no .png, .jpg or .jpeg file in it or in its subfolders", folder.string()));
    if (at_top > 0 && !classes_.empty())
        throw InputError(fmt::format(
            "{}: has images and also folders of images ({}); use one folder per class, or no subfolders",
            folder.string(), classes_.front()));
    if (classes_.size() < 2) classes_.clear();
    split(std::move(files));
    limit(train_, options.limit_train);
    limit(test_, options.limit_test);
    info_.name = fs::weakly_canonical(folder).filename().string();
    info_.H = info_.W = options.size;
    info_.C = options.channels;
    info_.n_classes = static_cast<std::int32_t>(classes_.size());
    info_.train = static_cast<index_t>(train_.size());
    info_.test = static_cast<index_t>(test_.size());
} catch (const fs::filesystem_error& error) {
    throw InputError(fmt::format("cannot open folder {}: {}", folder.string(), error.code().message()));
}

// Moves randomly drawn files of each class to the test part.
void ImageFolder::split(std::vector<File> files) {
    const index_t test = std::llround(options_.test * static_cast<double>(files.size()));
    std::vector<std::int32_t> labels;
    for (const File& file : files) labels.push_back(file.label);
    const std::vector<bool> is_test =
        draw_part(labels, static_cast<std::int32_t>(classes_.size()), test, kStay, options_.seed, kTestPass);
    for (std::size_t n = 0; n < files.size(); ++n)
        (is_test[n] ? test_ : train_).push_back(std::move(files[n]));
}

// Limits the files, spread evenly over the classes.
void ImageFolder::limit(std::vector<File>& files, index_t most) const {
    if (most < 0) return;
    std::vector<index_t> sizes(std::max<std::size_t>(1, classes_.size()), 0);
    const auto number = [&](const File& file) {
        return classes_.empty() ? 0 : static_cast<std::size_t>(file.label);
    };
    for (const File& file : files) ++sizes[number(file)];
    std::vector<index_t> quotas = spread_over_classes(sizes, most);
    std::erase_if(files, [&](const File& file) { return quotas[number(file)]-- <= 0; });
}

std::vector<std::int32_t> ImageFolder::labels(Part part) const {
    std::vector<std::int32_t> labels;
    if (classes_.empty()) return labels;
    for (const File& file : part == Part::train ? train_ : test_) labels.push_back(file.label);
    return labels;
}

std::vector<std::string> ImageFolder::untrained_classes() const {
    std::vector<bool> found(classes_.size());
    for (const std::int32_t label : labels(Part::train)) found[static_cast<std::size_t>(label)] = true;
    std::vector<std::string> names;
    for (std::size_t c = 0; c < classes_.size(); ++c)
        if (!found[c]) names.push_back(classes_[c]);
    return names;
}

void ImageFolder::read(Part part, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
                       std::uint8_t* usable) {
    const std::vector<File>& files = part == Part::train ? train_ : test_;
    const index_t S = options_.size;
    std::vector<std::string> problems(static_cast<std::size_t>(count));
    std::exception_ptr failure;
    std::mutex one_large, one_failure;
#pragma omp parallel for schedule(dynamic) num_threads(options_.threads)
    for (index_t n = 0; n < count; ++n) {
        const File& file = files[static_cast<std::size_t>(first + n)];
        const auto at = static_cast<std::size_t>(n);
        if (labels != nullptr) labels[n] = file.label;
        try {
            const fs::path path = folder_ / file.name;
            std::error_code ignored;
            std::unique_lock<std::mutex> lock(one_large, std::defer_lock);
            if (static_cast<index_t>(fs::file_size(path, ignored)) > kLargeBytes) lock.lock();
            const Image image = read_photo(path, options_.channels);
            if (std::min(image.H, image.W) < S)
                problems[at] = fmt::format("{}: {} x {} pixels are less than {} x {}", path.string(), image.W,
                                           image.H, S, S);
            else
                crop_and_shrink(image, S, images + n * info_.image_bytes());
        } catch (const InputError& error) {
            const std::string problem = file_problem(folder_ / file.name);
            problems[at] = problem.empty() ? error.what()
                                           : fmt::format("{}: cannot be read: {}",
                                                         (folder_ / file.name).string(), problem);
        } catch (...) {  // out of memory, for example; exceptions must not leave the parallel loop
            const std::lock_guard lock(one_failure);
            failure = std::current_exception();
        }
    }
    if (failure) std::rethrow_exception(failure);
    for (index_t n = 0; n < count; ++n) usable[n] = problems[static_cast<std::size_t>(n)].empty() ? 1 : 0;
    std::erase(problems, "");
    if (options_.strict && !problems.empty()) throw InputError(join_problems(problems) + " (--strict)");
    std::move(problems.begin(), problems.end(), std::back_inserter(skipped_));
}

}  // namespace glow

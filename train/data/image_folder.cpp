// Listing once, decoding batch by batch on all threads.
#include "train/data/image_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <exception>
#include <mutex>

#include "kernels/error.h"
#include "train/data/photo.h"
#include "train/data/shuffle.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

constexpr index_t kLargeBytes = index_t{1} << 22;  // files above are decoded one at a time: they may be huge
constexpr std::uint64_t kTestPass = 1;             // of shuffled(); pass 0 draws the validation images

bool is_image_name(const fs::path& path) {
    std::string ending = path.extension().string();
    for (char& character : ending)
        character = static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
    return ending == ".png" || ending == ".jpg" || ending == ".jpeg";
}

}  // namespace

void ImageFolder::list(const fs::path& below, std::int32_t label, std::vector<File>& files,
                       std::vector<std::string>* folders) {
    const std::size_t first = files.size();
    for (const auto& entry : fs::directory_iterator(folder_ / below)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with('.')) continue;
        std::error_code ignored;
        if (entry.is_directory(ignored)) {
            if (folders != nullptr) folders->push_back(name);
        } else if (entry.is_regular_file(ignored) && is_image_name(entry.path())) {
            files.push_back({(below / name).string(), label});
        } else {
            ++other_files_;
        }
    }
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(first), files.end(),
              [](const File& a, const File& b) { return a.name < b.name; });
}

ImageFolder::ImageFolder(const fs::path& folder, const ImageFolderOptions& options) try
    : folder_(folder), options_(options) {
    if (!(options.test >= 0.0 && options.test < 1.0))
        throw InputError(
            fmt::format("--test: expected a fraction from 0 to below 1, found {}", options.test));
    if (!fs::is_directory(folder))
        throw InputError(fmt::format("expected a folder of images, found no folder {}", folder.string()));
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
    if (files.empty())
        throw InputError(
            fmt::format("{}: found no .png, .jpg or .jpeg file, in it or one folder below", folder.string()));
    if (at_top > 0 && !classes_.empty())
        throw InputError(
            fmt::format("{}: holds images, and folders of images ({}) too: a class each, or none",
                        folder.string(), classes_.front()));
    if (classes_.size() < 2) classes_.clear();

    const auto N = static_cast<index_t>(files.size());
    const index_t test = std::llround(options.test * static_cast<double>(N));
    std::vector<bool> is_test(files.size());
    for (index_t n = 0; n < test; ++n)
        is_test[static_cast<std::size_t>(shuffled(options.seed, kTestPass, N, n))] = true;
    for (std::size_t n = 0; n < files.size(); ++n)
        (is_test[n] ? test_ : train_).push_back(std::move(files[n]));
    info_.name = fs::weakly_canonical(folder).filename().string();
    info_.H = info_.W = options.size;
    info_.C = options.channels;
    info_.n_classes = static_cast<std::int32_t>(classes_.size());
    info_.train = static_cast<index_t>(train_.size());
    info_.test = static_cast<index_t>(test_.size());
} catch (const fs::filesystem_error& error) {
    throw InputError(fmt::format("cannot look into {}: {}", folder.string(), error.code().message()));
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
            problems[at] = error.what();
        } catch (...) {  // no memory, say: nothing may leave the parallel loop
            const std::lock_guard lock(one_failure);
            failure = std::current_exception();
        }
    }
    if (failure) std::rethrow_exception(failure);
    for (index_t n = 0; n < count; ++n) {
        std::string& problem = problems[static_cast<std::size_t>(n)];
        if (problem.empty()) continue;
        if (options_.strict) throw InputError(problem + " (--strict)");
        usable[n] = 0;
        skipped_.push_back(std::move(problem));
    }
}

}  // namespace glow

#include "data/photo_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>
#include <utility>

#include "data/formats/input_path.h"
#include "data/formats/photo.h"
#include "kernels/error.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

std::string lower_ending(const fs::path& path) {
    std::string ending = path.extension().string();
    for (char& character : ending)
        character = static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
    return ending;
}

// Whether the path is the folder or inside it.
bool is_within(const fs::path& path, const fs::path& folder) {
    const fs::path inside = path.lexically_relative(folder);
    return !inside.empty() && *inside.begin() != "..";
}

// Whether the name of a dangling link, such as notes.txt, says that its target is a file. Names of folders may
// contain dots, too.
bool has_file_suffix(const fs::path& name) {
    constexpr std::size_t kLongest = 5;  // ".json"
    const std::string suffix = name.extension().string();
    return suffix.size() >= 2 && suffix.size() <= kLongest &&
           std::all_of(suffix.begin() + 1, suffix.end(),
                       [](unsigned char character) { return std::isalnum(character) != 0; });
}

bool is_run_folder(const fs::path& folder) {
    std::error_code ignored;
    return fs::is_directory(folder / "checkpoints", ignored) && fs::exists(folder / "config.toml", ignored);
}

// Files of the folder `below` and of the folders in it; links to folders go to `links`. Skips runs in it: their
// pictures are samples of a model.
void list(const fs::path& root, const fs::path& below, PhotoFiles& files, std::vector<fs::path>& links) {
    const fs::path listed = root / below;
    std::error_code failed, ignored;
    std::vector<fs::path> folders;
    if (is_run_folder(listed)) {
        files.skipped.push_back(
            fmt::format("{}: the folder of a training run, whose pictures are samples", listed.string()));
        return;
    }
    for (fs::directory_iterator entry(listed, failed), end; !failed && entry != end;
         entry.increment(failed)) {
        const fs::path name = below / entry->path().filename();
        if (name.filename().string().starts_with('.')) continue;
        if (entry->is_directory(ignored)) {
            (entry->is_symlink(ignored) ? links : folders).push_back(name);
        } else if (entry->is_regular_file(ignored)) {
            if (is_photo_name(name))
                files.names.push_back(name.string());
            else
                ++files.other_files[lower_ending(name)];
        } else if (is_photo_name(name) || (entry->is_symlink(ignored) && !entry->exists(ignored))) {
            const std::string problem = file_problem(entry->path());
            files.skipped.push_back(fmt::format("{}: cannot be read: {}", entry->path().string(),
                                                problem.empty() ? "it changed while it was read" : problem));
            if (is_photo_name(name) || !has_file_suffix(name))
                files.unreadable.push_back({name.string(), files.skipped.back()});
        } else {
            ++files.other_files[lower_ending(name)];
        }
    }
    if (failed && !is_missing_or_forbidden(failed.value()))  // its photographs must not be left out
        throw Error(fmt::format("cannot list folder {}: {}", listed.string(), failed.message()));
    if (failed && below.empty())
        throw InputError(fmt::format("cannot open folder {}: {}", listed.string(), failed.message()));
    if (failed) {
        files.skipped.push_back(
            fmt::format("{}: cannot list the folder: {}", listed.string(), failed.message()));
        files.unreadable.push_back({below.string(), files.skipped.back()});
    }
    for (const fs::path& folder : folders) list(root, folder, files, links);
}

// Sorted by path, links last.
void remove_repeats(const fs::path& folder, PhotoFiles& files) {
    std::map<FileId, std::string> first;
    std::vector<std::pair<bool, fs::path>> order;  // whether it is a link
    std::error_code ignored;
    for (const std::string& name : files.names)
        order.emplace_back(fs::is_symlink(folder / name, ignored), name);
    std::sort(order.begin(), order.end());
    files.names.clear();
    for (const auto& [is_link, path] : order) {
        const std::optional<FileId> id = file_id(folder / path);
        const auto found = id ? first.find(*id) : first.end();
        if (found != first.end()) {
            files.repeats.push_back({path.string(), found->second});
            continue;
        }
        if (id) first.emplace(*id, path.string());
        files.names.push_back(path.string());
    }
}

struct FolderLink {
    fs::path name, target;  // relative to the folder of photographs; absolute
};

// files.names: sorted.
void find_folder_repeats(const fs::path& folder, const std::vector<FolderLink>& links, PhotoFiles& files) {
    if (links.empty()) return;
    std::vector<bool> done(links.size(), false);
    fs::path parent, resolved;
    std::error_code ignored;
    for (const std::string& name : files.names) {
        const fs::path path = name;
        if (!path.has_parent_path()) continue;
        if (path.parent_path() != parent) {
            parent = path.parent_path();
            resolved = fs::canonical(folder / parent, ignored);
        }
        for (std::size_t n = 0; n < links.size(); ++n) {
            if (done[n] || *path.begin() == *links[n].name.begin() || !is_within(resolved, links[n].target))
                continue;
            files.folder_repeats.push_back({links[n].name.string(), name});
            done[n] = true;
        }
    }
}

}  // namespace

void refuse_run_folder(const fs::path& folder) {
    if (is_run_folder(folder))
        throw InputError(fmt::format(
            "{}: expected images, found the folder of a training run, which --checkpoint takes (glow_train: --init-from)",
            folder.string()));
}

// Links to folders come after all real folders. A link to a folder that was read, or is inside or around one,
// would read photographs twice, possibly on both sides of a split.
PhotoFiles list_photos(const fs::path& folder) try {
    if (const std::string problem = folder_problem(folder); !problem.empty())
        throw InputError(
            fmt::format("expected a folder of images, found no folder at {}: {}", folder.string(), problem));
    refuse_run_folder(folder);
    PhotoFiles files;
    std::vector<fs::path> links, read = {fs::canonical(folder)};
    std::vector<FolderLink> skipped;
    list(folder, "", files, links);
    for (std::size_t n = 0; n < links.size(); ++n) {
        std::sort(links.begin() + static_cast<std::ptrdiff_t>(n), links.end());
        const fs::path link = links[n], target = fs::canonical(folder / link);
        const auto repeats = [&](const fs::path& other) {
            return is_within(target, other) || is_within(other, target);
        };
        if (std::any_of(read.begin(), read.end(), repeats)) {
            files.skipped.push_back(
                fmt::format("{}: symbolic link to a folder that is already read or contains one that is",
                            (folder / link).string()));
            skipped.push_back({link, target});
            continue;
        }
        read.push_back(target);
        list(folder, link, files, links);
    }
    remove_repeats(folder, files);
    std::sort(files.names.begin(), files.names.end(),
              [](const std::string& a, const std::string& b) { return fs::path(a) < fs::path(b); });
    std::sort(files.skipped.begin(), files.skipped.end());
    find_folder_repeats(folder, skipped, files);
    return files;
} catch (const fs::filesystem_error& error) {
    throw InputError(fmt::format("cannot open folder {}: {}", folder.string(), error.code().message()));
}

std::string describe_repeats(const fs::path& folder, const std::vector<PhotoFiles::Repeat>& repeats) {
    const auto& [name, same_as] = repeats.at(0);
    const bool one = repeats.size() == 1;
    return fmt::format("{}: {} of files in it ({}) {} left out{} {} of {}", folder.string(),
                       one ? "1 further name" : fmt::format("{} further names", repeats.size()),
                       one ? "a link" : "links", one ? "is" : "are", one ? ":" : ", such as", name, same_as);
}

std::string no_photos(const fs::path& folder, const std::map<std::string, index_t>& other_files) {
    return fmt::format("{}: found no {} file in it or in its subfolders{}", folder.string(), photo_suffixes(),
                       other_files.empty() ? "" : ", only " + describe_suffixes(other_files));
}

std::string describe_suffixes(const std::map<std::string, index_t>& numbers) {
    std::vector<std::string> parts;
    for (const auto& [ending, count] : numbers)
        parts.push_back(fmt::format("{} {}", count, ending.empty() ? "without a suffix" : ending));
    return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace glow

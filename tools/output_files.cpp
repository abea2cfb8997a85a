#include "tools/output_files.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>

#include "data/formats/atomic_file.h"
#include "data/formats/decimal.h"
#include "data/formats/hdf5_file.h"
#include "data/formats/input_path.h"
#include "data/formats/photo.h"
#include "data/photo_files.h"
#include "inference/compressed_file.h"
#include "inference/message_text.h"
#include "inference/model_file.h"
#include "kernels/error.h"
#include "train/run_folder.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

bool is_regular(const fs::path& path) {
    std::error_code ignored;
    return fs::is_regular_file(path, ignored);
}

// A run folder as an input means its latest checkpoint; another folder, the photographs in it.
bool is_photo_folder(const fs::path& path) {
    std::error_code ignored;
    return fs::is_directory(path, ignored) && !RunFolder(path).holds_run() &&
           !fs::exists(RunFolder(path).latest(), ignored);
}

std::vector<NamedPath> input_files(const std::vector<NamedPath>& inputs) {
    std::error_code ignored;
    std::vector<NamedPath> files;
    for (const NamedPath& input : inputs) {
        if (input.path.empty()) continue;
        if (is_photo_folder(input.path))
            for (const std::string& photo : list_photos(input.path).names)
                files.push_back({input.name, input.path / photo});
        else if (fs::is_directory(input.path, ignored))
            files.push_back({input.name, RunFolder(input.path).latest()});
        else
            files.push_back(input);
    }
    return files;
}

// Whether the folder `path` is the folder `around` or below it.
bool is_within(const fs::path& path, const fs::path& around) {
    std::error_code ignored;
    const fs::path inside =
        fs::weakly_canonical(path, ignored).lexically_relative(fs::weakly_canonical(around, ignored));
    return !inside.empty() && *inside.begin() != "..";
}

// Decoded images: 000012.png.
bool is_numbered_image(const fs::path& path) {
    const std::string stem = path.stem().string();
    return path.extension() == ".png" && stem.size() >= 6 &&
           stem.find_first_not_of("0123456789") == std::string::npos;
}

// Those in a folder; none if it does not exist.
std::vector<fs::path> numbered_images(const NamedPath& folder) {
    std::vector<fs::path> found;
    std::error_code failed;
    fs::directory_iterator entry(folder.path, failed);
    if (is_missing_or_forbidden(failed.value())) return found;  // without a listing, nothing can be said
    for (; !failed && entry != fs::directory_iterator(); entry.increment(failed))
        if (is_numbered_image(entry->path())) found.push_back(entry->path());
    if (failed)
        throw Error(fmt::format("{} {}: cannot list the folder: {}", folder.name, folder.path.string(),
                                failed.message()));
    return found;
}

// An existing folder, or one that can be created.
void require_writable_folder(const NamedPath& folder) {
    std::error_code ignored, failed;
    if (const bool exists = fs::exists(folder.path, failed);
        !exists && failed == std::errc::filename_too_long)
        throw InputError(fmt::format("{} {}: cannot write pictures there: {}", folder.name,
                                     folder.path.string(), failed.message()));
    fs::path existing = fs::absolute(folder.path, ignored);
    while (!fs::exists(fs::symlink_status(existing, ignored)) && existing.has_relative_path())
        existing = existing.parent_path();
    const auto refuse = [&](const char* why) {
        throw InputError(fmt::format("{} {}: cannot write pictures there: {}: {}", folder.name,
                                     folder.path.string(), existing.string(), why));
    };
    if (!fs::is_directory(existing, ignored)) refuse("expected a folder");
    if (access(existing.c_str(), W_OK | X_OK) != 0) refuse(std::strerror(errno));
}

// Rejects pictures in a folder of photographs that is an input.
void refuse_inside_photographs(const std::vector<NamedPath>& inputs, const NamedPath& output,
                               const fs::path& target) {
    for (const NamedPath& input : inputs)
        if (is_photo_folder(input.path) && is_within(target, input.path))
            throw InputError(fmt::format(
                "{0} {1} is inside {2} {3}: the next command that reads {3} would take what is written there for "
                "photographs; choose another folder",
                output.name, output.path.string(), input.name, input.path.string()));
}

// What a file holds that no command replaces by accident; empty if nothing.
std::string data_in(const fs::path& path) try {
    if (!is_regular(path)) return "";
    std::string first(8, '\0');
    std::ifstream(path, std::ios::binary).read(first.data(), 8);
    if (first == "GLOWBITS") return "compressed images";
    if (first != "\x89HDF\r\n\x1a\n") return "";
    const Hdf5File file = Hdf5File::open(path);
    return file.exists("/params") ? "a model's weights" : file.exists("/train/images") ? "a data set" : "";
} catch (const InputError&) {  // damaged
    return "";
}

// ".NAME.lock" next to the file; a hash replaces a name that would be too long.
fs::path lock_of(const fs::path& target) {
    std::string name = target.filename().string();
    if (name.size() > 240) name = fmt::format("{:016x}", fingerprint(name.data(), name.size()));
    return target.parent_path() / fmt::format(".{}.lock", name);
}

std::unique_ptr<FileLock> lock_target(const NamedPath& output, const fs::path& target) {
    return std::make_unique<FileLock>(
        lock_of(target), fmt::format("{} {}", output.name, output.path.string()), "choose another name");
}

}  // namespace

std::unique_ptr<FileLock> lock_output(const NamedPath& output) {
    { const AtomicFile writable(output.path); }
    return lock_target(output, target_of(output.path));
}

void refuse_file_of_run(const NamedPath& output) {
    for (const fs::path& target : {output.path, target_of(output.path)})
        refuse_file_of_run(output.name, output.path, target);
}

void refuse_overwriting(const std::vector<NamedPath>& inputs, const std::vector<NamedPath>& outputs) {
    std::map<FileId, const NamedPath*> existing;
    for (const NamedPath& output : outputs)
        if (const auto id = file_id(output.path)) existing.emplace(*id, &output);
    if (existing.empty()) return;
    for (const NamedPath& input : input_files(inputs)) {
        const auto id = file_id(input.path);
        const auto found = id ? existing.find(*id) : existing.end();
        if (found == existing.end()) continue;
        const NamedPath& output = *found->second;
        throw InputError(
            fmt::format("{} {} would overwrite {} {}: the two are the same file; choose another name",
                        output.name, output.path.string(), input.name, input.path.string()));
    }
}

OutputFiles::OutputFiles(const CommandLine& command, const std::vector<NamedPath>& inputs,
                         const std::vector<NamedPath>& outputs, Replacing replacing)
    : command_(command), inputs_(inputs), outputs_(outputs) {
    std::vector<fs::path> targets;
    for (const NamedPath& output : outputs) targets.push_back(target_of(output.path));
    refuse_overwriting(inputs_, outputs);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
        refuse_file_of_run(outputs[i]);
        for (const fs::path& path : {outputs[i].path, targets[i]}) {
            if (is_photo_name(path)) refuse_inside_photographs(inputs_, outputs[i], path);
        }
        for (std::size_t j = 0; j < i; ++j) {
            std::error_code ignored;
            if (fs::weakly_canonical(targets[i], ignored) == fs::weakly_canonical(targets[j], ignored))
                throw InputError(fmt::format("{} and {} are the same file {}; choose another name",
                                             outputs[j].name, outputs[i].name, outputs[i].path.string()));
        }
        { const AtomicFile writable(outputs[i].path); }
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) lock(outputs[i], targets[i]);
    if (replacing == Replacing::by_own_rule) return;
    for (const NamedPath& output : outputs)
        if (const std::string data = data_in(output.path); !data.empty())
            throw InputError(fmt::format("{} {} holds {}, which it would replace: choose another name",
                                         output.name, output.path.string(), data));
}

void OutputFiles::add_folder(const NamedPath& folder) {
    std::error_code ignored;
    require_writable_folder(folder);
    std::vector<NamedPath> images;
    for (const fs::path& picture : numbered_images(folder))
        if (is_regular(picture)) images.push_back({folder.name, picture});
    refuse_overwriting(inputs_, images);
    for (const fs::path& target : {folder.path, folder.path / "000000.png"})
        refuse_file_of_run(folder.name, folder.path, target);
    refuse_inside_photographs(inputs_, folder, folder.path);
    const fs::path inside = fs::weakly_canonical(fs::absolute(folder.path, ignored) / "", ignored);
    for (const NamedPath& output : outputs_) {
        const fs::path other = fs::weakly_canonical(fs::absolute(target_of(output.path), ignored), ignored);
        if (is_numbered_image(other) && other.parent_path() / "" == inside / "")
            throw InputError(fmt::format(
                "{} {} has the name of a picture in {} {}, which would replace it; choose another name",
                output.name, output.path.string(), folder.name, folder.path.string()));
    }
    // The lock file is next to the folder, which may not exist yet, or inside it if only that is writable.
    fs::path target = fs::weakly_canonical(fs::absolute(folder.path, ignored), ignored);
    if (!target.has_filename()) target = target.parent_path();
    if (access(target.parent_path().c_str(), W_OK) != 0) target /= "images";
    if (access(target.parent_path().c_str(), W_OK) == 0) lock(folder, target);
    remove_abandoned_files(folder.path);
}

void refuse_existing(const fs::path& output, bool force, const char* option) {
    if (!force && is_regular(output))
        throw InputError(
            fmt::format("{} exists: choose another name, or replace it with {}", output.string(), option));
}

void refuse_other_pictures(const NamedPath& folder, index_t count) {
    std::vector<std::string> others;
    for (const fs::path& picture : numbered_images(folder)) {
        index_t number = 0;
        if (parse_decimal(picture.stem().string(), number) != std::errc() || number >= count)
            others.push_back(picture.filename().string());
    }
    if (others.empty()) return;
    std::sort(others.begin(), others.end());
    throw InputError(fmt::format(
        "{} {}: has {} of an earlier result, {}{}, which the {} new ones would not replace: remove {}, or choose another "
        "folder",
        folder.name, folder.path.string(), counted(std::ssize(others), "picture"), others.front(),
        others.size() > 1 ? " to " + others.back() : "", count, others.size() > 1 ? "them" : "it"));
}

void OutputFiles::lock(const NamedPath& output, const fs::path& target) {
    const auto& held = locks_.emplace_back(lock_target(output, target));
    remove_abandoned_files(target.has_parent_path() ? target.parent_path() : ".");
    if (held->problem().empty() || warned_) return;
    warned_ = true;
    command_.warn(
        "{}: its file system does not support locks ({}); another process could write it at the same time",
        output.path.string(), held->problem());
}

}  // namespace glow

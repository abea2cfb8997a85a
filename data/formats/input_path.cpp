#include "data/formats/input_path.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <map>
#include <system_error>

#include "kernels/error.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxProblems = 10;  // listed in one message

// Explains why stat() failed.
std::string missing(const fs::path& path, int error) {
    const std::string reason = std::generic_category().message(error);
    std::error_code failed;
    const fs::path target = fs::read_symlink(path, failed);
    if (failed) return reason;
    if (error == ELOOP) return fmt::format("loop of symbolic links (to {})", target.string());
    if (error == ENOENT || error == ENOTDIR)
        return fmt::format("dangling symbolic link to {}", target.string());
    return fmt::format("symbolic link to {}: {}", target.string(), reason);
}

const char* kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISREG(mode)) return "a file";
    if (S_ISFIFO(mode)) return "a named pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

// Why the path is not a readable file of the wanted kind (S_IFREG or S_IFDIR).
std::string problem_of(const fs::path& path, mode_t wanted) {
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) return missing(path, errno);
    if ((status.st_mode & S_IFMT) != wanted)
        return fmt::format("{}, not {}", kind_of(status.st_mode), kind_of(wanted));
    // Only opening shows whether it can be read. O_NONBLOCK: it may have become a pipe meanwhile.
    const int file = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (file < 0) return std::generic_category().message(errno);
    close(file);
    return "";
}

}  // namespace

std::string file_problem(const fs::path& path) {
    return problem_of(path, S_IFREG);
}

std::string folder_problem(const fs::path& path) {
    return problem_of(path, S_IFDIR);
}

bool is_missing_or_forbidden(int error) {
    constexpr int kErrors[] = {ENOENT, ENOTDIR, EACCES, EPERM, EISDIR, ELOOP, ENAMETOOLONG};
    return std::find(std::begin(kErrors), std::end(kErrors), error) != std::end(kErrors);
}

std::string read_problem(const std::istream& stream) {
    return stream.bad() ? std::generic_category().message(errno != 0 ? errno : EIO) : "";
}

bool is_present(const fs::path& path) {
    std::error_code ignored;
    return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
}

std::string read_file(const fs::path& path) {
    std::string problem = file_problem(path), bytes;
    if (problem.empty()) {
        std::ifstream file(path, std::ios::binary);
        std::vector<char> part(std::size_t{1} << 16);
        errno = 0;
        while (file) {
            file.read(part.data(), std::ssize(part));
            bytes.append(part.data(), static_cast<std::size_t>(file.gcount()));
        }
        if (!file.eof()) problem = std::generic_category().message(errno != 0 ? errno : EIO);
    }
    if (!problem.empty()) throw InputError(fmt::format("{}: cannot be read: {}", path.string(), problem));
    return bytes;
}

std::optional<FileId> file_id(const fs::path& path) {
    struct stat status;
    if (stat(path.c_str(), &status) != 0) return {};
    return FileId{status.st_dev, status.st_ino};
}

void refuse_same_file(const std::vector<fs::path>& paths) {
    std::map<FileId, fs::path> given;
    for (const fs::path& path : paths) {
        const std::optional<FileId> id = file_id(path);
        const auto [found, is_new] = id ? given.emplace(*id, path) : std::pair(given.end(), true);
        if (!is_new)
            throw InputError(fmt::format("{} and {} are the same file: its images would be used twice",
                                         found->second.string(), path.string()));
    }
}

std::string join_problems(const std::vector<std::string>& problems) {
    const std::size_t shown = std::min(problems.size(), kMaxProblems);
    std::string text = fmt::format(
        "{}", fmt::join(problems.begin(), problems.begin() + static_cast<std::ptrdiff_t>(shown), "; "));
    if (shown < problems.size()) text += fmt::format("; and {} more", problems.size() - shown);
    return text;
}

fs::path find_input_file(const fs::path& folder, const std::vector<std::string>& names) {
    std::string problem;
    std::vector<fs::path> inner;
    for (const std::string& name : names) {
        const fs::path path = folder / name;
        std::error_code ignored;
        if (!fs::exists(fs::symlink_status(path, ignored))) continue;
        std::string reason = file_problem(path);
        if (reason.empty()) return path;
        if (fs::is_directory(path, ignored)) {
            inner.push_back(path);
            reason = "a folder without such a file";
        }
        if (problem.empty()) problem = fmt::format("{}: cannot be read: {}", path.string(), reason);
    }
    for (const fs::path& below : inner)
        for (const std::string& name : names)
            if (file_problem(below / name).empty()) return below / name;
    if (!problem.empty()) throw InputError(problem);
    return {};
}

}  // namespace glow

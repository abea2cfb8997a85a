#include "data/formats/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>

#include "data/formats/file_lock.h"
#include "data/formats/fingerprint.h"
#include "kernels/error.h"

namespace glow {
namespace {

std::filesystem::path folder_of(const std::filesystem::path& path) {
    return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& reason) {
    throw InputError(fmt::format("cannot write {}: {}", path.string(), reason));
}

// fsync of a file or folder. File systems without sync support return EINVAL or EROFS; treat that as success.
bool sync(const std::filesystem::path& path, int flags) {
    const int file = open(path.c_str(), flags | O_CLOEXEC);
    if (file < 0) return errno == EACCES;  // a write-only folder cannot be opened
    const bool synced = fsync(file) == 0 || errno == EINVAL || errno == EROFS;
    const int code = errno;
    close(file);
    errno = code;
    return synced;
}

// Names the host in a temporary file's name: some file systems lock files between processes of one host
// only.
std::string host_tag() {
    char name[256] = "";
    gethostname(name, sizeof name - 1);
    return fmt::format("{:08x}", fingerprint(name, std::strlen(name)) & 0xffffffff);
}

constexpr std::time_t kAbandonedSeconds = 24 * 3600;
constexpr int kMaxAttempts = 1000;  // to create a temporary file

// Removes the temporary files of a folder for which is_abandoned(name, descriptor) holds; the descriptor is
// -1 if the file cannot be opened. A locked file is in use.
template <class IsAbandoned>
void remove_temporary_files(const std::filesystem::path& folder, IsAbandoned is_abandoned) {
    std::error_code ignored;
    std::filesystem::directory_iterator entry(folder, ignored);
    for (; entry != std::filesystem::directory_iterator(); entry.increment(ignored)) {
        const std::string name = entry->path().filename().string();
        if (!name.starts_with(".glow-") || !name.ends_with(".tmp")) continue;
        const int file =
            open(entry->path().c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
        if (is_abandoned(name, file)) unlink(entry->path().c_str());
        if (file >= 0) close(file);
    }
}

}  // namespace

void remove_abandoned_files(const std::filesystem::path& folder) {
    const std::string own = fmt::format(".glow-{}-", host_tag());
    remove_temporary_files(folder, [&](const std::string& name, int file) {
        struct stat status;
        if (file < 0 || !lock_descriptor(file, false) || fstat(file, &status) != 0) return false;
        return S_ISREG(status.st_mode) &&
               (name.starts_with(own) || status.st_mtime < std::time(nullptr) - kAbandonedSeconds);
    });
}

void remove_abandoned_files_of_own_folder(const std::filesystem::path& folder) {
    remove_temporary_files(folder,
                           [](const std::string&, int file) { return file < 0 || lock_descriptor(file); });
}

std::filesystem::path target_of(const std::filesystem::path& path) {
    if (path.empty()) throw InputError("cannot write a file without a name");
    struct stat status;
    if (lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode)) {
        std::error_code code;
        const auto target = std::filesystem::weakly_canonical(path, code);
        if (code) refuse(path, code.message());
        if (lstat(target.c_str(), &status) == 0 && S_ISLNK(status.st_mode))
            refuse(path, "it is a dangling link");
        return target;
    }
    return path;
}

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(target_of(path)) {
    struct stat status;
    if (stat(path_.c_str(), &status) == 0) {
        if (!S_ISREG(status.st_mode))
            refuse(path, S_ISDIR(status.st_mode) ? "it is a folder" : "it is not a regular file");
        // rename() would silently replace a file that is write-protected.
        if (access(path_.c_str(), W_OK) != 0) refuse(path, std::strerror(errno));
    } else if (errno != ENOENT) {
        refuse(path, std::strerror(errno));
    }
    if (!path_.has_filename()) refuse(path, "it names a folder");

    const std::string host = host_tag();
    for (int attempt = 0;; ++attempt) {
        temporary_ = folder_of(path_) / fmt::format(".glow-{}-{}-{}.tmp", host, getpid(), attempt);
        const int file = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file >= 0) {
            lock_ = file;
            // Another process may find the new file before it is locked, and remove it.
            const bool locked = lock_descriptor(lock_);
            const int missing = access(temporary_.c_str(), F_OK) == 0 ? 0 : errno;
            if (missing == 0 && (locked || attempt == kMaxAttempts)) return;
            unlink(temporary_.c_str());
            close(lock_);
            if (missing != 0 && missing != ENOENT) refuse(path, std::strerror(missing));
            if (attempt == kMaxAttempts) refuse(path, "its temporary file was removed");
            continue;
        }
        if (errno == ENOENT)
            refuse(path, fmt::format("folder {} does not exist: create it first", folder_of(path_).string()));
        if (errno != EEXIST || attempt == kMaxAttempts) refuse(path, std::strerror(errno));
    }
}

AtomicFile::~AtomicFile() {
    if (!committed_) {
        // A library that failed to close the file may keep it open until the process ends, so free its space
        // first.
        (void)!truncate(temporary_.c_str(), 0);
        unlink(temporary_.c_str());
    }
    close(lock_);
}

void AtomicFile::commit() {
    if (!sync(temporary_, O_RDONLY))
        throw Error(fmt::format("cannot write {} to disk: {}", path_.string(), std::strerror(errno)));
    if (rename(temporary_.c_str(), path_.c_str()) != 0)
        throw Error(fmt::format("cannot rename {} to {}: {}", temporary_.string(), path_.string(),
                                std::strerror(errno)));
    committed_ = true;
    sync_folder_of(path_);
}

void close_written(std::ofstream& file, const std::filesystem::path& path) {
    file.close();
    if (!file)
        throw Error(
            fmt::format("{}: cannot be written: {}", path.string(), std::strerror(errno != 0 ? errno : EIO)));
}

void sync_folder_of(const std::filesystem::path& file) {
    const std::filesystem::path folder = folder_of(file);
    if (!sync(folder, O_RDONLY | O_DIRECTORY))
        throw Error(fmt::format("cannot sync folder {}: {}", folder.string(), std::strerror(errno)));
}

void write_atomically(const std::filesystem::path& path,
                      const std::function<void(const std::filesystem::path& temporary)>& write) {
    AtomicFile file(path);
    write(file.temporary());
    file.commit();
}

}  // namespace glow

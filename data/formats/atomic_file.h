// Atomic file replacement: write to a temporary name in the same folder, sync, rename, sync the folder.
#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>

namespace glow {

// The file that a write to `path` replaces: `path` itself or its link target. Throws InputError for a
// dangling link.
std::filesystem::path target_of(const std::filesystem::path& path);

// A file being written. Without commit(), the destructor removes the temporary file and leaves `path`
// unchanged. The disk space is freed even if a library still holds the file open.
class AtomicFile {
  public:
    // Creates the temporary file. Throws InputError if `path` cannot be written: missing folder, no
    // permission, or `path` is not a regular file. A link is followed: its target is replaced, not the link.
    explicit AtomicFile(const std::filesystem::path& path);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    const std::filesystem::path& path() const { return path_; }
    const std::filesystem::path& temporary() const { return temporary_; }

    // Syncs the temporary file, renames it to `path` and syncs the folder. The writer must have closed it.
    // Throws Error if the disk is full or the rename fails.
    void commit();

  private:
    std::filesystem::path path_, temporary_;
    int lock_ = -1;  // lock on the temporary file: marks it as in use, not abandoned
    bool committed_ = false;
};

// Calls write(temporary), then commits. If `write` throws, the temporary file is removed and `path` is
// unchanged.
void write_atomically(const std::filesystem::path& path,
                      const std::function<void(const std::filesystem::path& temporary)>& write);

// Closes a file that was written under its temporary name; `path` is for the message. Throws Error, with the
// system's reason, if a write failed; NFS and quotas may report a full disk only now.
void close_written(std::ofstream& file, const std::filesystem::path& path);

// Syncs the folder of a file, so that a new or renamed name in it survives a crash of the machine. Throws
// Error if that fails.
void sync_folder_of(const std::filesystem::path& file);

// Removes the temporary files that ended processes left in a folder; they may have gigabytes. Those of other
// hosts, and on a file system without locks all, remain, because their processes may be running. A file of
// another host counts as abandoned after a day without changes, unless it is locked.
void remove_abandoned_files(const std::filesystem::path& folder);
// The same in a folder that belongs to this process alone: removes all temporary files that are not locked.
void remove_abandoned_files_of_own_folder(const std::filesystem::path& folder);

}  // namespace glow

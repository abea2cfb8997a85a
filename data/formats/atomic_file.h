// Files that appear whole or not at all: written under a temporary name in the same folder, synced to disk,
// renamed.
#pragma once

#include <filesystem>
#include <functional>

namespace glow {

// The file that a write to `path` replaces: `path` itself, or what it links to. InputError for a link that
// leads nowhere.
std::filesystem::path target_of(const std::filesystem::path& path);

// A file in the making. The destructor of one that was not committed removes the temporary file (its space is
// freed even if a library still holds it open); `path` then stays as it was before.
class AtomicFile {
  public:
    // Creates the temporary file. InputError where `path` cannot be written: no such folder, no permission,
    // or `path` exists and is not a regular file. A link is followed: its target is replaced, not the link.
    explicit AtomicFile(const std::filesystem::path& path);
    ~AtomicFile();
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    const std::filesystem::path& path() const { return path_; }
    const std::filesystem::path& temporary() const { return temporary_; }

    // Syncs the temporary file, renames it to `path` and syncs the folder. The writer must have closed it
    // before. Error where the disk is full or the rename fails.
    void commit();

  private:
    std::filesystem::path path_, temporary_;
    int lock_ = -1;  // of the temporary file: it is in use, not left behind (run_folder.h)
    bool committed_ = false;
};

// Calls write(temporary), then commits. Whatever `write` throws, nothing is left behind and `path` is
// untouched.
void write_atomically(const std::filesystem::path& path,
                      const std::function<void(const std::filesystem::path& temporary)>& write);

}  // namespace glow

// Exclusive locks between processes. A lock is flock() on a small file that names its holder; the kernel
// releases it when the holder ends, however it ends.
#pragma once

#include <filesystem>
#include <string>

namespace glow {

class FileLock {
  public:
    // Creates and locks `file`. Where another process holds the lock for two seconds (ten if that process is
    // exiting): InputError "WHAT is in use by process 12 on host h since ...; wait for it, or ADVICE".
    // InputError where the file cannot be created.
    FileLock(std::filesystem::path file, const std::string& what, const std::string& advice);
    // Removes the file and releases the lock.
    ~FileLock();
    FileLock(const FileLock&) = delete;
    FileLock& operator=(const FileLock&) = delete;

    // Why the file system grants no locks; empty where it does. Without locks the object does nothing.
    const std::string& problem() const { return problem_; }
    // False where the file was deleted or replaced: another process may have locked the new one.
    bool is_current() const;

  private:
    bool try_lock();
    std::string holder() const;

    std::filesystem::path file_;
    int descriptor_ = -1;
    bool owned_ = false;  // the file is this class's own
    std::string problem_;
};

// Locks an open file until it is closed, without waiting. False where another descriptor holds the lock.
bool lock_descriptor(int descriptor);

}  // namespace glow

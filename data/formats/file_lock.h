// Exclusive lock between processes: flock() on a small file that names its holder. The kernel releases the
// lock whenever the holder ends, even by a crash. A child of fork() does not hold its parent's locks.
#pragma once

#include <filesystem>
#include <string>

namespace glow {

class FileLock {
  public:
    // Creates and locks `file`. If another process holds the lock for two seconds (ten if that process is
    // exiting), throws InputError "WHAT is in use by process 12 on host h since ...; wait for it, or ADVICE".
    // Also throws InputError if the file cannot be created or is not a regular file.
    FileLock(std::filesystem::path file, const std::string& what, const std::string& advice);
    // Removes the file and releases the lock.
    ~FileLock();
    FileLock(const FileLock&) = delete;
    FileLock& operator=(const FileLock&) = delete;

    // Why the file system does not support locks; empty if it does. Without locks this object does nothing.
    const std::string& problem() const { return problem_; }
    // False if the file was deleted or replaced: another process may have locked the new one.
    bool is_current() const;

  private:
    bool try_lock();
    void name_holder();
    std::string holder() const;

    std::filesystem::path file_;
    int descriptor_ = -1;
    bool owned_ = false;  // this class created the file
    std::string problem_;
};

// Locks an open file until it is closed. Does not wait: returns false if another descriptor holds the lock,
// and `without_locks` if the file system does not support locks.
bool lock_descriptor(int descriptor, bool without_locks = true);

}  // namespace glow

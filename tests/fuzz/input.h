// Shared by all fuzz targets: input bytes as a file in memory, and the accepted kind of error.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "kernels/error.h"

namespace glow::fuzz {

// An unnamed file with these bytes.
class MemoryFile {
  public:
    MemoryFile(const std::uint8_t* bytes, std::size_t size) : file_(memfd_create("input", MFD_CLOEXEC)) {
        for (std::size_t done = 0; file_ >= 0 && done < size;) {
            const ssize_t written = write(file_, bytes + done, size - done);
            if (written <= 0) break;
            done += static_cast<std::size_t>(written);
        }
    }
    ~MemoryFile() { close(file_); }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;
    std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(file_); }

  private:
    int file_;
};

// Calls a reader; InputError is the only exception that bad input may cause.
template <class Read>
int attempt(const Read& read) {
    try {
        read();
    } catch (const InputError&) {
    }
    return 0;
}

}  // namespace glow::fuzz

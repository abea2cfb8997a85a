// What all fuzz targets share: the bytes as a file in memory, and what counts as a refusal.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "kernels/error.h"

namespace glow::fuzz {

// A file without a name that holds these bytes.
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

// Reads something; InputError is the only exception that may come of bad input.
template <class Read>
int attempt(const Read& read) {
    try {
        read();
    } catch (const InputError&) {
    }
    return 0;
}

}  // namespace glow::fuzz

// Limits on memory: of the host, of the control groups, and of the process.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace glow {

struct MemoryLimit {
    std::size_t bytes = 0;
    std::string source;  // completes "the run needs 9 GiB, but ... 8 GiB": "this machine has"
};

// Memory that the processes of this host share: the machine's, or less if a control group limits it. root:
// where /proc and /sys are.
MemoryLimit host_memory_limit(const std::filesystem::path& root = "/");
// Memory that this process can still map (ulimit -v, ulimit -d); the largest number without a limit.
MemoryLimit process_memory_limit();
// Reserve for memory that libraries allocate while they compute: oneDNN crashes if it cannot allocate its
// code. A process with a limit leaves this much free.
inline constexpr std::size_t kLibraryBytes = std::size_t{64} << 20;

// The smaller of the two limits, in bytes.
std::size_t memory_limit_bytes();

}  // namespace glow

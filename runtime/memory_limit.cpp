#include "runtime/memory_limit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <limits>

#include "runtime/cgroup.h"

namespace glow {

MemoryLimit host_memory_limit(const std::filesystem::path& root) {
    MemoryLimit limit{
        static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)),
        "this machine has"};
    visit_cgroups(root, "memory", [&limit](const std::filesystem::path& folder) {
        // Versions 2 and 1. "max" is not a number, and version 1 writes a number beyond any machine.
        for (const char* const name : {"memory.max", "memory.limit_in_bytes"}) {
            std::size_t bytes = 0;
            if (std::ifstream(folder / name) >> bytes && bytes < limit.bytes)
                limit = {bytes, "the control group (job or container) allows"};
        }
    });
    return limit;
}

MemoryLimit process_memory_limit() {
    // Not by a stream, which allocates a buffer: this is also called when memory has run out.
    char text[256] = "";
    if (const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC); file >= 0) {
        (void)!read(file, text, sizeof text - 1);
        close(file);
    }
    // In pages: size, resident, shared, text, 0, data (private writable mappings).
    std::size_t size = 0, data = 0;
    std::sscanf(text, "%zu %*u %*u %*u %*u %zu", &size, &data);
    MemoryLimit limit{std::numeric_limits<std::size_t>::max(), ""};
    const auto take = [&limit](decltype(RLIMIT_AS) resource, std::size_t used_pages, const char* source) {
        rlimit set{};
        if (getrlimit(resource, &set) != 0 || set.rlim_cur == RLIM_INFINITY) return;
        const std::size_t used = used_pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t left = set.rlim_cur > used ? set.rlim_cur - used : 0;
        if (left < limit.bytes) limit = {left, source};
    };
    take(RLIMIT_AS, size, "ulimit -v leaves each process");
    take(RLIMIT_DATA, data, "ulimit -d leaves each process");
    return limit;
}

std::size_t memory_limit_bytes() {
    return std::min(host_memory_limit().bytes, process_memory_limit().bytes);
}

}  // namespace glow

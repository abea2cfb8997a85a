// Makes memory scarce for a test.
#pragma once

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

namespace glow {

// From the start of the program, blocks of 1 MiB and more have pages of their own, and threads share one heap. By
// default glibc takes large blocks from its heap after a while, and from the 64 MiB of addresses that it reserves
// for another thread's heap: both may serve a test without new addresses.
inline const bool g_blocks_have_pages =
    mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1 && mallopt(M_ARENA_MAX, 1) == 1;

// While it exists, this process can allocate `bytes` more, as with ulimit -v. Not for AddressSanitizer, which
// needs all addresses itself.
class LittleMemory {
  public:
    explicit LittleMemory(rlim_t bytes) {
        malloc_trim(0);
        std::ifstream statm("/proc/self/statm");
        rlim_t pages = 0;
        statm >> pages;
        getrlimit(RLIMIT_AS, &before_);
        const rlimit limit{pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + bytes, before_.rlim_max};
        setrlimit(RLIMIT_AS, &limit);
    }
    ~LittleMemory() { setrlimit(RLIMIT_AS, &before_); }
    LittleMemory(const LittleMemory&) = delete;
    LittleMemory& operator=(const LittleMemory&) = delete;

  private:
    rlimit before_{};
};

}  // namespace glow

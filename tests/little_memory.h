// Makes memory scarce for a test.
#pragma once

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

namespace glow {

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

// The number of CPU threads: decided once when a backend opens, and enforced at every library call. oneDNN
// divides its work by omp_get_max_threads() and trusts the team to be that large; a smaller team
// (OMP_DYNAMIC, OMP_THREAD_LIMIT, a call from inside a parallel region) leaves part of a product uncomputed.
#pragma once

#include <filesystem>
#include <string>

namespace glow {

struct ThreadCount {
    int used = 1;
    int asked = 0;       // 0: the default
    int processors = 1;  // of the machine
    std::string limit;   // what made `used` smaller than asked for, or than the machine; may be empty
    bool fewer_than_asked() const { return used < asked; }
};

// "2", "2 (asked for 4; OMP_THREAD_LIMIT=2)" or "1 (of 8 processors; CPU quota)".
std::string describe(const ThreadCount& count);

// The threads of a backend. asked 0: the processors that this process may use by its affinity mask and its
// cgroups' CPU quotas, divided by the `local_size` processes of this host. Starts the threads and counts
// them.
ThreadCount decide_threads(int asked, int local_size = 1);
// The same for plans: a number asked for may be another machine's, and no thread starts.
ThreadCount planned_threads(int asked, int local_size = 1);

// Processors that the CPU quotas of this process's cgroups (versions 1 and 2) allow, rounded up; 0 without
// a quota. `root` is for tests.
int cgroup_processors(const std::filesystem::path& root = "/");

// The team that a parallel region of this thread gets now, of a backend with `threads`: 1 inside a parallel
// region, at most the thread limit.
int available_team(int threads);

// For the lifetime of this object the calling thread's OpenMP settings give teams of exactly `threads`,
// which must be at most available_team(). The destructor restores the caller's settings.
class ScopedTeam {
  public:
    explicit ScopedTeam(int threads);
    ~ScopedTeam();
    ScopedTeam(const ScopedTeam&) = delete;
    ScopedTeam& operator=(const ScopedTeam&) = delete;

  private:
    int threads_before_, dynamic_before_, levels_before_;
};

}  // namespace glow

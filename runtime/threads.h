// The number of CPU threads, decided once when a backend opens and enforced at every library call. oneDNN
// divides its work by omp_get_max_threads() and assumes a team of that size; a smaller team (OMP_DYNAMIC,
// OMP_THREAD_LIMIT, a call from a parallel region) would leave part of a product uncomputed.
#pragma once

#include <bitset>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace glow {

inline constexpr int kMaxThreads = 4096;  // limit of --threads and of what files record

struct ThreadCount {
    int used = 1;
    int requested = 0;   // 0: the default
    int processors = 1;  // of the machine
    std::string limit;   // why `used` is below `requested` or `processors`; may be empty
    bool fewer_than_requested() const { return used < requested; }
};

// "2", "2 (asked for 4; OMP_THREAD_LIMIT=2)" or "1 (of 8 processors; CPU quota)".
std::string describe(const ThreadCount& count);

// Number of threads for a backend. requested = 0: the smallest of the machine's processors and its cgroups'
// CPU quotas, both divided by the `local_size` processes on this host, and of the affinity mask and
// mask_share: processor_share(), or 0 if unknown. Starts the threads, to make sure that the system allows
// them.
ThreadCount decide_threads(int requested, int local_size = 1, int mask_share = 0);
// The same for plans: `requested` may be meant for another machine, and no thread starts.
ThreadCount planned_threads(int requested, int local_size = 1, int mask_share = 0);

// Processors that a process may use, one bit each: its affinity mask. Empty if unknown.
using ProcessorMask = std::bitset<1024>;
ProcessorMask affinity_mask();
// The share of process `own` in the processors of its mask, each divided by the number of processes of the
// host that may use it; at least 1. 0 if its mask is empty.
int processor_share(const std::vector<ProcessorMask>& masks, std::size_t own);

// Processors allowed by the CPU quotas of this process's cgroups (versions 1 and 2), rounded up; 0 if
// unlimited. `root` is for tests.
int cgroup_processors(const std::filesystem::path& root = "/");

// Whether this thread has called fork() and this is the child, after decide_threads() had started threads.
// OpenMP would wait for them forever, because a fork does not copy them. Other threads of the child start
// their own.
bool threads_lost_by_fork();

// Team size that a parallel region in this thread gets now, for a backend with `threads`: 1 inside a parallel
// region, otherwise at most the thread limit.
int available_team(int threads);

// While this object lives, the calling thread's OpenMP settings give teams of exactly `threads`, which must
// be at most available_team(). The destructor restores the previous settings.
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

#include "runtime/threads.h"

#include <dirent.h>
#include <fmt/format.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <fstream>
#include <system_error>
#include <thread>
#include <vector>

#include "runtime/cgroup.h"

namespace glow {
namespace {

namespace fs = std::filesystem;

void lower(ThreadCount& count, int limit, const std::string& reason) {
    if (limit >= count.used) return;
    count.used = std::max(1, limit);
    count.limit = reason;
}

// Not with std::filesystem, which ends the program if there is no memory.
int threads_alive() {
    DIR* const tasks = opendir("/proc/self/task");
    if (tasks == nullptr) return 0;
    int count = 0;
    while (const dirent* const entry = readdir(tasks))
        if (entry->d_name[0] != '.') ++count;
    closedir(tasks);
    return count;
}

thread_local bool lost_by_fork = false;

// From now on, a fork() marks the thread that continues in the child.
void watch_forks() {
    static const int failed = pthread_atfork(nullptr, nullptr, [] { lost_by_fork = true; });
    static_cast<void>(failed);  // no memory: a child may wait forever
}

void lower_to_openmp_limits(ThreadCount& count) {
    if (lost_by_fork) lower(count, 1, "forked after Glow had started threads");
    if (omp_in_parallel()) lower(count, 1, "opened inside a parallel region");
    if (omp_get_max_active_levels() == 0) lower(count, 1, "OMP_MAX_ACTIVE_LEVELS=0");
    lower(count, omp_get_thread_limit(), fmt::format("OMP_THREAD_LIMIT={}", omp_get_thread_limit()));
}

// Threads that wait until this object ends, also by an exception.
class WaitingThreads {
  public:
    WaitingThreads() = default;
    ~WaitingThreads() {
        done_ = true;
        done_.notify_all();
        for (std::thread& thread : started_) thread.join();
    }
    WaitingThreads(const WaitingThreads&) = delete;
    WaitingThreads& operator=(const WaitingThreads&) = delete;

    void start() {
        started_.reserve(started_.size() + 1);  // with no room for it, a started thread could not be joined
        started_.emplace_back([this] { done_.wait(false); });
    }

  private:
    std::atomic<bool> done_ = false;
    std::vector<std::thread> started_;
};

// How many of `wanted` threads, including the caller, can exist at once, and what limits them. OpenMP
// libraries end the process if they cannot start a thread.
int startable(int wanted, std::string& reason) {
    const int before = threads_alive();
    int count = 1;
    {
        WaitingThreads threads;
        try {
            for (; count < wanted; ++count) threads.start();
        } catch (const std::system_error& error) {
            reason =
                fmt::format("the system cannot start more threads (ulimit -u): {}", error.code().message());
        }
    }
    // A joined thread counts against limits until the kernel releases it.
    for (int i = 0; i < 1000 && threads_alive() > before; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return count;
}

int team_started(int threads) {
    const ScopedTeam team(threads);
    int counted = 1;
#pragma omp parallel num_threads(threads)
    {
#pragma omp single
        counted = omp_get_num_threads();
    }
    return counted;
}

// CPU quota of a single cgroup in processors, 0 if unlimited.
double quota(const fs::path& folder) {
    double period = 0;
    std::string first;
    if (std::ifstream file(folder / "cpu.max"); file >> first >> period && first != "max" && period > 0)
        return std::atof(first.c_str()) / period;
    double microseconds = 0;
    std::ifstream quota_file(folder / "cpu.cfs_quota_us"), period_file(folder / "cpu.cfs_period_us");
    if (quota_file >> microseconds && period_file >> period && period > 0) return microseconds / period;
    return 0;
}

}  // namespace

std::string describe(const ThreadCount& count) {
    if (count.fewer_than_requested())
        return fmt::format("{} (asked for {}; {})", count.used, count.requested, count.limit);
    if (count.requested == 0 && count.used < count.processors)
        return fmt::format("{} (of {} processors; {})", count.used, count.processors, count.limit);
    return fmt::format("{}", count.used);
}

ThreadCount planned_threads(int requested, int local_size, int mask_share) {
    ThreadCount count;
    count.requested = std::max(0, requested);
    count.processors = std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
    count.used = requested > 0 ? requested : count.processors;
    if (requested > 0) return count;
    lower(count, omp_get_num_procs(), "affinity mask");
    lower(count, count.processors / local_size, fmt::format("shared by {} processes", local_size));
    if (const int quota = cgroup_processors(); quota > 0)
        lower(count, std::max(1, quota / local_size), "CPU quota of its cgroup");
    if (mask_share > 0) lower(count, mask_share, "affinity mask, shared with other processes");
    lower_to_openmp_limits(count);
    return count;
}

ProcessorMask affinity_mask() {
    ProcessorMask mask;
    cpu_set_t processors;
    CPU_ZERO(&processors);
    if (sched_getaffinity(0, sizeof(processors), &processors) != 0) return mask;  // over 1024 processors
    for (std::size_t i = 0; i < std::min<std::size_t>(mask.size(), CPU_SETSIZE); ++i)
        mask[i] = CPU_ISSET(i, &processors);
    // With OMP_PROC_BIND or OMP_PLACES, OpenMP has bound this thread to one of the process's processors.
    if (static_cast<int>(mask.count()) != omp_get_num_procs()) mask.reset();
    return mask;
}

int processor_share(const std::vector<ProcessorMask>& masks, std::size_t own) {
    double share = 0;
    for (std::size_t i = 0; i < masks[own].size(); ++i) {
        if (!masks[own][i]) continue;
        const auto users =
            std::count_if(masks.begin(), masks.end(), [i](const auto& mask) { return mask[i]; });
        share += 1.0 / static_cast<double>(users);
    }
    if (share == 0) return 0;
    return std::max(1, static_cast<int>(share + 1e-6));  // 6 processors of 3 processes: 2, not 1.9999
}

ThreadCount decide_threads(int requested, int local_size, int mask_share) {
    ThreadCount count = planned_threads(requested, local_size, mask_share);
    lower_to_openmp_limits(count);
    static thread_local int proven = 1;  // threads already started in this thread's pool
    if (count.used > proven) {
        std::string reason;
        lower(count, startable(count.used, reason), reason);
    }
    for (int team; (team = team_started(count.used)) < count.used;)
        lower(count, team, fmt::format("OpenMP started a team of {}", team));
    proven = count.used;
    if (count.used > 1) watch_forks();
    return count;
}

bool threads_lost_by_fork() {
    return lost_by_fork;
}

int cgroup_processors(const fs::path& root) {
    double least = 0;
    visit_cgroups(root, "cpu", [&least](const fs::path& folder) {
        const double processors = quota(folder);
        if (processors > 0 && (least == 0 || processors < least)) least = processors;
    });
    return least > 0 ? static_cast<int>(std::min(std::ceil(least), 1e6)) : 0;
}

int available_team(int threads) {
    return omp_in_parallel() ? 1 : std::min(threads, omp_get_thread_limit());
}

ScopedTeam::ScopedTeam(int threads)
    : threads_before_(omp_get_max_threads()),
      dynamic_before_(omp_get_dynamic()),
      levels_before_(omp_get_max_active_levels()) {
    omp_set_num_threads(threads);
    if (dynamic_before_) omp_set_dynamic(0);
    if (levels_before_ == 0) omp_set_max_active_levels(1);
}

ScopedTeam::~ScopedTeam() {
    if (levels_before_ == 0) omp_set_max_active_levels(0);
    if (dynamic_before_) omp_set_dynamic(dynamic_before_);
    omp_set_num_threads(threads_before_);
}

}  // namespace glow

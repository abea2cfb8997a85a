// Ends all processes that a test started, even if the test is killed by SIGKILL, as on a CTest timeout.
// Children carry a mark in their environment that descendants inherit, whatever process groups and sessions
// they create (mpirun gives each rank a group). A guard process waits for the end of its creator and kills
// all processes with the mark.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace glow {

class ProcessGuard {
  public:
    // One per process, created on first use.
    static ProcessGuard& instance() {
        static ProcessGuard guard;
        return guard;
    }
    ProcessGuard(const ProcessGuard&) = delete;
    ProcessGuard& operator=(const ProcessGuard&) = delete;

    // Creates a mark for a new child; the child adopts it between fork and exec.
    std::string new_mark() { return mark_ + std::to_string(++children_) + "/"; }
    static void take(const std::string& mark) { setenv(kVariable, mark.c_str(), 1); }

    // Kills every process whose mark begins with `mark`, until none is left.
    static void kill_marked(const std::string& mark) {
        const std::string entry = std::string(kVariable) + "=" + mark;
        for (int round = 0; round < 1000; ++round) {
            bool found = false;
            DIR* const all = opendir("/proc");
            if (all == nullptr) return;
            while (const dirent* const one = readdir(all)) {
                const pid_t pid = std::atoi(one->d_name);
                if (pid <= 0 || pid == getpid() || !has_entry(pid, entry)) continue;
                found = true;
                kill(pid, SIGKILL);
            }
            closedir(all);
            if (!found) return;
            usleep(2000);
        }
    }

  private:
    static constexpr const char* kVariable = "GLOW_TEST_PROCESS";

    // Marks of a nested guard begin with the outer guard's mark, so that the outer one ends them too.
    ProcessGuard() {
        const char* const outer = std::getenv(kVariable);
        mark_ =
            (outer != nullptr ? std::string(outer) : std::string()) + "/" + std::to_string(getpid()) + "/";
        std::array<int, 2> ends{};
        if (pipe2(ends.data(), O_CLOEXEC) != 0) return;
        std::fflush(nullptr);
        const pid_t middle = fork();
        if (middle == 0) {
            // A child of init, so that whoever kills the test's process tree does not reach it.
            if (fork() != 0) _exit(0);
            setsid();
            watch(ends[0]);
            kill_marked(mark_);
            _exit(0);
        }
        close(ends[0]);
        if (middle > 0) waitpid(middle, nullptr, 0);
    }
    // Returns when the process at the other end of the pipe ends. All other descriptors are closed, so that
    // no stream stays open.
    static void watch(int end) {
        for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(signal, SIG_IGN);
        const long most = sysconf(_SC_OPEN_MAX);
        for (int other = 0; other < (most > 0 && most < 4096 ? most : 4096); ++other)
            if (other != end) close(other);
        unsetenv(kVariable);
        char byte;
        while (read(end, &byte, 1) < 0 && errno == EINTR) {
        }
    }
    static bool has_entry(pid_t pid, const std::string& entry) {
        const std::string path = "/proc/" + std::to_string(pid) + "/environ";
        const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (file < 0) return false;
        std::string environment;
        std::array<char, 4096> buffer{};
        for (ssize_t n; (n = read(file, buffer.data(), buffer.size())) > 0;)
            environment.append(buffer.data(), static_cast<std::size_t>(n));
        close(file);
        return environment.starts_with(entry) || environment.find('\0' + entry) != std::string::npos;
    }

    std::string mark_;
    std::atomic<int> children_ = 0;
};

}  // namespace glow

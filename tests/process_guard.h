// Ends the processes that a test started, however the test itself ends: also by SIGKILL, as CTest's timeout does.
// A child carries a mark in its environment, which its descendants inherit, whatever groups and sessions they
// make of their own (mpirun gives each rank a group). A guard process waits for the end of the process that made
// it and kills what carries the mark.
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
    // One for the whole process, from its first use on.
    static ProcessGuard& instance() {
        static ProcessGuard guard;
        return guard;
    }
    ProcessGuard(const ProcessGuard&) = delete;
    ProcessGuard& operator=(const ProcessGuard&) = delete;

    // A mark for one more child, and where the child takes it on: between fork and exec.
    std::string new_mark() { return mark_ + std::to_string(++children_) + "/"; }
    static void take(const std::string& mark) { setenv(kVariable, mark.c_str(), 1); }

    // Kills every process with a mark that begins with `mark`, until none is left.
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

    // The mark of a nested guard's children begins with that of the outer one, which ends them too.
    ProcessGuard() {
        const char* const outer = std::getenv(kVariable);
        mark_ = (outer != nullptr ? std::string(outer) : std::string()) + "/" + std::to_string(getpid()) + "/";
        std::array<int, 2> ends{};
        if (pipe2(ends.data(), O_CLOEXEC) != 0) return;
        std::fflush(nullptr);
        const pid_t middle = fork();
        if (middle == 0) {
            // A child of init: who kills a tree of processes does not find it here.
            if (fork() != 0) _exit(0);
            setsid();
            watch(ends[0]);
            kill_marked(mark_);
            _exit(0);
        }
        close(ends[0]);
        if (middle > 0) waitpid(middle, nullptr, 0);
    }
    // Returns at the end of the process that holds the other end of the pipe. Everything else is closed, so that
    // nobody waits for the end of a stream that is open here.
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

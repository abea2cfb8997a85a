// Runs the built commands and captures exit code, both streams and files.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "kernels/base.h"
#include "tests/data/files.h"
#include "tests/process_guard.h"

namespace glow {

// A user for this process alone: limits count all processes of a user, also those of tests of another build.
inline uid_t unused_user() {
    return 30'000 + static_cast<uid_t>(getpid()) % 30'000;
}

struct Outcome {
    int code = 0;  // exit code, or -signal
    std::string out, err;
    index_t peak_bytes = 0;  // peak memory
};

struct Surroundings {
    std::string stderr_path = {};         // replaces Outcome::err; may be a terminal
    rlim_t largest_file = RLIM_INFINITY;  // in bytes, as on a full disk
    // Of processes and threads; the program then runs as a user of its own, since root has no such limit.
    rlim_t most_threads = RLIM_INFINITY;
    std::string stdout_path = {};                         // replaces Outcome::out
    std::map<std::string, std::string> environment = {};  // variables to set
};

// A running program in a folder; it ends with its object and with the test, even if that crashes.
// GLOW_PROGRAMS, if set, is the folder of a bundle's programs.
class Process {
  public:
    Process(const std::filesystem::path& folder, const std::string& program,
            const std::vector<std::string>& arguments, const Surroundings& surroundings = {})
        : err_path_(surroundings.stderr_path.empty() ? streams_ / "err"
                                                     : std::filesystem::path(surroundings.stderr_path)) {
        child_ = fork();
        if (child_ != 0) return;
        ProcessGuard::take(mark_);
        const std::string out_path =
            surroundings.stdout_path.empty() ? (streams_ / "out").string() : surroundings.stdout_path;
        dup2(open(out_path.c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
        dup2(open(err_path_.c_str(), O_WRONLY | O_CREAT | O_NOCTTY, 0600), STDERR_FILENO);
        if (chdir(folder.c_str()) != 0) _exit(99);
        if (surroundings.largest_file != RLIM_INFINITY) {
            const rlimit limit{surroundings.largest_file, surroundings.largest_file};
            setrlimit(RLIMIT_FSIZE, &limit);
        }
        if (surroundings.most_threads != RLIM_INFINITY) {
            const rlimit limit{surroundings.most_threads, surroundings.most_threads};
            if (chmod(".", 0777) != 0 || setrlimit(RLIMIT_NPROC, &limit) != 0 || setgid(unused_user()) != 0 ||
                setuid(unused_user()) != 0)
                _exit(97);
        }
        // Without it each command starts itself again, which takes as long as its start.
        setenv("OPENBLAS_NUM_THREADS", "1", 0);
        for (const auto& [name, value] : surroundings.environment) setenv(name.c_str(), value.c_str(), 1);
        const std::string there = found(program);
        std::vector<char*> words = {const_cast<char*>(there.c_str())};
        for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
        words.push_back(nullptr);
        execv(there.c_str(), words.data());
        _exit(98);
    }
    ~Process() {
        if (child_ > 0) {
            ::kill(child_, SIGKILL);
            waitpid(child_, nullptr, 0);
            ProcessGuard::kill_marked(mark_);
        }
    }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    void kill(int signal) const { ::kill(child_, signal); }
    // Stops it, until kill(SIGCONT).
    void pause() const {
        siginfo_t info{};
        kill(SIGSTOP);
        waitid(P_PID, static_cast<id_t>(child_), &info, WSTOPPED | WEXITED | WNOWAIT);
    }
    pid_t pid() const { return child_; }
    std::string err() const { return read_bytes(err_path_); }  // so far
    bool running() const {
        siginfo_t info{};
        return waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
               info.si_pid == 0;
    }
    // Waits until condition() holds, at most a minute; false if it does not or the program ends before.
    template <class Condition>
    bool wait_until(Condition&& condition) const {
        for (int i = 0; i < 6000 && running(); ++i) {
            if (condition()) return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return false;
    }
    Outcome wait() {
        int status = 0;
        rusage usage{};
        wait4(child_, &status, 0, &usage);
        child_ = 0;
        return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), read_bytes(streams_ / "out"),
                read_bytes(streams_ / "err"), index_t{1024} * usage.ru_maxrss};
    }

  private:
    static std::string found(const std::filesystem::path& program) {
        const char* const folder = std::getenv("GLOW_PROGRAMS");
        const std::filesystem::path there = std::filesystem::path(folder ? folder : "") / program.filename();
        return folder && std::filesystem::exists(there) ? there : program;
    }

    std::string mark_ = ProcessGuard::instance().new_mark();
    TemporaryFolder streams_;
    std::filesystem::path err_path_;
    pid_t child_ = 0;
};

// Checks the exit code, empty stdout, and one line on stderr that contains `part`.
inline void expect_error(const Outcome& outcome, int code, const std::string& part) {
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(outcome.err.find(": error: ") != std::string::npos && outcome.err.starts_with("glow_"))
        << outcome.err;
    EXPECT_EQ(outcome.err.find('\n'), outcome.err.size() - 1) << outcome.err;
    EXPECT_NE(outcome.err.find(part), std::string::npos)
        << "\"" << part << "\" is missing in: " << outcome.err;
}

}  // namespace glow

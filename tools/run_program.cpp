#include "tools/run_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "kernels/error.h"

namespace glow {

int run_program(const std::vector<std::string>& argv, std::string* output) {
    std::vector<char*> arguments;
    for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    int ends[2] = {-1, -1};
    if (output != nullptr && pipe2(ends, O_CLOEXEC) != 0)
        throw Error(fmt::format("cannot run {}: {}", argv[0], std::strerror(errno)));
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, output != nullptr ? ends[1] : STDERR_FILENO, STDOUT_FILENO);
    pid_t child = 0;
    const int failed = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (output != nullptr) {
        close(ends[1]);
        char buffer[4096];
        ssize_t count = 0;
        while (failed == 0 &&
               ((count = read(ends[0], buffer, sizeof buffer)) > 0 || (count < 0 && errno == EINTR)))
            if (count > 0) output->append(buffer, static_cast<std::size_t>(count));
        close(ends[0]);
    }
    if (failed == ENOENT) return kProgramNotFound;
    if (failed != 0) throw Error(fmt::format("cannot run {}: {}", argv[0], std::strerror(failed)));
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) throw Error(fmt::format("cannot wait for {}: {}", argv[0], std::strerror(errno)));
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace glow

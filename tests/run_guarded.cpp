// Usage: run_guarded COMMAND ARGUMENTS...
// Runs a command and ends everything it started, even if this program is killed. Exit status: the command's,
// or 128 + N if signal N ended it.
#include <cstdio>

#include "tests/process_guard.h"

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fputs("usage: run_guarded COMMAND ARGUMENTS...\n", stderr);
        return 2;
    }
    const std::string mark = glow::ProcessGuard::instance().new_mark();
    const pid_t child = fork();
    if (child == 0) {
        glow::ProcessGuard::take(mark);
        execvp(argv[1], argv + 1);
        std::perror(argv[1]);
        _exit(127);
    }
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    glow::ProcessGuard::kill_marked(mark);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

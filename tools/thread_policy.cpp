// libgomp reads its environment when it is loaded, so the program must restart.
#include "tools/thread_policy.h"

#include <omp.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iterator>

namespace glow {
namespace {

// Signals that the caller may have set to be ignored, as nohup does.
constexpr int kIgnorable[] = {SIGHUP, SIGPIPE};
bool g_ignored[std::size(kIgnorable)];

// Runs before libraries are loaded. Some replace signal handlers (libpsm2 of Open MPI that of SIGHUP), which
// forgets what the caller ignored. OpenBLAS starts its threads while it is loaded, and raises SIGINT if it
// cannot: ignore that, because OpenBLAS needs only one thread here.
void survive_loading(int, char**, char**) {
    struct sigaction action {};
    for (std::size_t i = 0; i < std::size(kIgnorable); ++i) {
        sigaction(kIgnorable[i], nullptr, &action);
        g_ignored[i] = action.sa_handler == SIG_IGN;
    }
    sigaction(SIGINT, nullptr, &action);
    if (action.sa_handler != SIG_DFL) return;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    action.sa_sigaction = [](int, siginfo_t* info, void*) {
        if (info->si_pid == getpid()) return;
        std::signal(SIGINT, SIG_DFL);  // later signals come from the user
        std::raise(SIGINT);
    };
    sigaction(SIGINT, &action, nullptr);
}
__attribute__((section(".preinit_array"), used)) void (*const g_survive_loading)(int, char**,
                                                                                 char**) = survive_loading;

void restore_signals() {
    struct sigaction action {};
    for (std::size_t i = 0; i < std::size(kIgnorable); ++i)
        if (g_ignored[i]) std::signal(kIgnorable[i], SIG_IGN);
    sigaction(SIGINT, nullptr, &action);
    if (action.sa_handler != SIG_IGN) std::signal(SIGINT, SIG_DFL);
}

}  // namespace

void wait_without_spinning(char** argv) {
    restore_signals();
    // With dynamic team sizes libgomp ends and starts threads for every loop.
    omp_set_dynamic(0);
    const bool has_policy =
        std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr;
    if (has_policy && std::getenv("OPENBLAS_NUM_THREADS") != nullptr) return;
    if (!has_policy) {
        setenv("OMP_WAIT_POLICY", "passive", 1);
        setenv("GOMP_SPINCOUNT", "2000", 1);
    }
    setenv("OPENBLAS_NUM_THREADS", "1", 0);  // it would start one a processor, and again after every fork
    std::error_code failed;
    const std::filesystem::path self =
        std::filesystem::read_symlink("/proc/self/exe", failed);  // keeps the program's name in `ps`
    if (!failed) execv(self.c_str(), argv);  // returns only on failure; then keep the default policy
}

}  // namespace glow

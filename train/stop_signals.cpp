#include "train/stop_signals.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>

#include "train/early_signals.h"
#include "train/progress_bar.h"

namespace glow {
namespace {

volatile std::sig_atomic_t g_stop = 0;  // the only type a signal handler may write
int g_instances = 0;
const char* g_answer = nullptr;
bool g_terminal = false;
thread_local bool g_left_to_caller = false;

// Async-signal-safe.
void write_all(std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
        if (written <= 0) return;
        text.remove_prefix(static_cast<std::size_t>(written));
    }
}

void answer(int signal) {
    if (g_answer == nullptr) return;
    const int error = errno;
    if (g_terminal) write_all(kEraseLine);
    write_all(g_answer);
    write_all(signal == SIGINT ? "; again: leave now\n" : "\n");
    errno = error;
}

void on_signal(int signal) {
    if (g_stop != 0 && signal == SIGINT) std::_Exit(130);
    const bool is_first = g_stop == 0;
    g_stop = 1;
    const bool has_reader = signal != SIGHUP && signal != SIGPIPE;
    if (is_first && has_reader) answer(signal);
}

}  // namespace

CallerHandlesSignals::CallerHandlesSignals() {
    g_left_to_caller = true;
}

CallerHandlesSignals::~CallerHandlesSignals() {
    g_left_to_caller = false;
}

StopSignals::StopSignals(const char* answer, bool terminal)
    : installed_(!g_left_to_caller), outer_answer_(g_answer), outer_terminal_(g_terminal) {
    if (!installed_) return;
    if (g_instances++ == 0) g_stop = 0;
    g_answer = answer;
    g_terminal = terminal;
    struct sigaction action {};
    action.sa_handler = on_signal;
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
        sigaction(kSignals[i], nullptr, &previous_[i]);
        const bool respects_ignore = kSignals[i] == SIGHUP || kSignals[i] == SIGPIPE;
        if (!respects_ignore || previous_[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);
        if (is_early_handler(previous_[i])) {
            previous_[i] = {};
            previous_[i].sa_handler = SIG_DFL;
        }
    }
    if (const int early = take_early_signal(); early != 0) on_signal(early);
}

StopSignals::~StopSignals() {
    if (!installed_) return;
    for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &previous_[i], nullptr);
    g_answer = outer_answer_;
    g_terminal = outer_terminal_;
    --g_instances;
}

bool StopSignals::requested() {
    return g_stop != 0;
}

}  // namespace glow

#include "train/stop_signals.h"

#include <cstdlib>

namespace glow {
namespace {

volatile std::sig_atomic_t g_stop = 0;  // the only type a signal handler may write

void on_signal(int signal) {
    if (g_stop != 0 && signal == SIGINT) std::_Exit(130);
    g_stop = 1;
}

}  // namespace

StopSignals::StopSignals() {
    g_stop = 0;
    struct sigaction action {};
    action.sa_handler = on_signal;
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
        sigaction(kSignals[i], nullptr, &previous_[i]);
        const bool respects_ignore = kSignals[i] == SIGHUP || kSignals[i] == SIGPIPE;
        if (!respects_ignore || previous_[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);
    }
}

StopSignals::~StopSignals() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &previous_[i], nullptr);
}

bool StopSignals::asked() {
    return g_stop != 0;
}

}  // namespace glow

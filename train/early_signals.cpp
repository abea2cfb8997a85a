#include "train/early_signals.h"

#include <unistd.h>

#include <cstdlib>
#include <iterator>

namespace glow {
namespace {

// Those of StopSignals, except SIGPIPE, which every command handles.
constexpr int kEarlySignals[] = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGHUP};

volatile std::sig_atomic_t g_early_signal = 0;
struct sigaction g_actions_before[std::size(kEarlySignals)];

void change_mask(int how) {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : kEarlySignals) sigaddset(&signals, signal);
    sigprocmask(how, &signals, nullptr);
}

void record_signal(int signal, siginfo_t* info, void*) {
    // OpenBLAS raises SIGINT if it cannot start its threads (tools/program_start.cpp).
    if (info->si_pid == getpid()) return;
    if (g_early_signal != 0 && signal == SIGINT) std::_Exit(130);
    if (g_early_signal == 0) g_early_signal = signal;
}

}  // namespace

void hold_early_signals() {
    change_mask(SIG_BLOCK);
}

void collect_early_signals() {
    struct sigaction action {};
    action.sa_sigaction = record_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    for (std::size_t i = 0; i < std::size(kEarlySignals); ++i) {
        struct sigaction& before = g_actions_before[i];
        sigaction(kEarlySignals[i], nullptr, &before);
        if (kEarlySignals[i] != SIGHUP || before.sa_handler != SIG_IGN)
            sigaction(kEarlySignals[i], &action, nullptr);
    }
    change_mask(SIG_UNBLOCK);
}

void release_early_signals() {
    for (std::size_t i = 0; i < std::size(kEarlySignals); ++i) {
        struct sigaction now {};
        sigaction(kEarlySignals[i], nullptr, &now);
        if (is_early_handler(now)) sigaction(kEarlySignals[i], &g_actions_before[i], nullptr);
    }
    if (const int signal = take_early_signal(); signal != 0) std::raise(signal);
}

int take_early_signal() {
    const int signal = g_early_signal;
    g_early_signal = 0;
    return signal;
}

bool is_early_handler(const struct sigaction& action) {
    return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == record_signal;
}

}  // namespace glow

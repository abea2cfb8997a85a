// Signals that come while a program loads, before there is a run that they could stop (train/stop_signals.h).
#pragma once

#include <csignal>

namespace glow {

// Blocks them, also in the program that execve() starts. Uses only the C library.
void hold_early_signals();
// From now on, the first one is kept for the first StopSignals; a second SIGINT exits.
void collect_early_signals();
// From now on they end the program, as does one that came before.
void release_early_signals();

// The signal that was kept, or 0; then none is.
int take_early_signal();
// Whether a handler is that of collect_early_signals().
bool is_early_handler(const struct sigaction& action);

}  // namespace glow

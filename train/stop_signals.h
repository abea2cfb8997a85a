// Signals that ask a run to end: after the step at work, with a checkpoint. A second SIGINT leaves at once.
// SIGHUP (the terminal is gone) and SIGPIPE (nobody reads the output any more) are among them, unless they
// were ignored at the start, as under nohup.
#pragma once

#include <array>
#include <csignal>

namespace glow {

// While it lives, the signals only ask. One at a time.
class StopSignals {
  public:
    StopSignals();
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    static bool asked();

  private:
    static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, SIGPIPE};
    std::array<struct sigaction, kSignals.size()> previous_;
};

}  // namespace glow

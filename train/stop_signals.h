// Signals that ask a run to end: after the step at work, with a checkpoint. A second SIGINT leaves at once.
#pragma once

#include <array>
#include <csignal>

namespace glow {

// While it lives, SIGINT, SIGTERM, SIGUSR1 and SIGUSR2 only ask. One at a time.
class StopSignals {
  public:
    StopSignals();
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    static bool asked();

  private:
    static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    std::array<struct sigaction, kSignals.size()> previous_;
};

}  // namespace glow

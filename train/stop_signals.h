// Signals that stop a run after the current step, with a checkpoint. A second SIGINT exits immediately.
// Includes SIGXCPU (soft limit of CPU time), SIGHUP (terminal closed) and SIGPIPE (reader of the output
// gone), the last two unless they were ignored at the start, as under nohup.
#pragma once

#include <array>
#include <csignal>

namespace glow {

// During its lifetime, runs of this thread install no signal handlers: the calling program keeps its own, and
// stops a run with RunRequest::stop.
class CallerHandlesSignals {
  public:
    CallerHandlesSignals();
    ~CallerHandlesSignals();
    CallerHandlesSignals(const CallerHandlesSignals&) = delete;
    CallerHandlesSignals& operator=(const CallerHandlesSignals&) = delete;
};

// During its lifetime, signals only request a stop. Instances may be nested: a request lasts until the outermost
// one ends. One thread at a time, except in runs under CallerHandlesSignals.
class StopSignals {
  public:
    // answer: text that the first signal prints immediately on stderr, because the step may take minutes; it
    // must outlive this object; nullptr: none. terminal: erase the progress line first.
    explicit StopSignals(const char* answer = nullptr, bool terminal = false);
    ~StopSignals();
    StopSignals(const StopSignals&) = delete;
    StopSignals& operator=(const StopSignals&) = delete;

    static bool requested();

  private:
    static constexpr std::array kSignals = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGHUP, SIGPIPE};
    const bool installed_;
    const char* const outer_answer_;
    const bool outer_terminal_;
    std::array<struct sigaction, kSignals.size()> previous_;
};

}  // namespace glow

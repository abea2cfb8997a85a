// Progress of a long job on stderr: a redrawn line on a terminal, otherwise occasional plain lines.
#pragma once

#include <chrono>
#include <string>

#include "kernels/base.h"
#include "tools/command_line.h"

namespace glow {

// Prints nothing with --quiet, or if the job ends within seconds.
class ProgressLine {
  public:
    // what: the unit of the counts, "images".
    ProgressLine(const CommandLine& command, std::string what);
    ~ProgressLine();
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;

    // Reports that `done` of `all` are done. Fewer than before: another pass begins.
    void show(index_t done, index_t all);
    // Removes the line from a terminal; other output of the command does so too.
    void clear() { command_.clear_line(); }

  private:
    using Clock = std::chrono::steady_clock;
    const CommandLine& command_;
    std::string what_;
    bool terminal_;
    index_t done_ = 0;
    // Of this pass, the last line and the last report.
    Clock::time_point start_ = Clock::now(), last_ = start_, reported_ = start_;
};

}  // namespace glow

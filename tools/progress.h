// The progress of a long job on stderr: a line redrawn on a terminal, else a plain line now and then.
#pragma once

#include <chrono>
#include <string>

#include "kernels/base.h"
#include "tools/command_line.h"

namespace glow {

// Says nothing with --quiet, and nothing of a job that is over within seconds.
class ProgressLine {
  public:
    // what: "images", the things that are counted.
    ProgressLine(const CommandLine& command, std::string what);
    ~ProgressLine();
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;

    // `done` of `all` things are done.
    void show(index_t done, index_t all);
    // Takes the line off a terminal, for another line to stand there.
    void clear();

  private:
    using Clock = std::chrono::steady_clock;
    const CommandLine& command_;
    std::string what_;
    bool terminal_, drawn_ = false;
    Clock::time_point start_ = Clock::now(), last_ = start_;
};

}  // namespace glow

// A long job's progress: a line that is redrawn on a terminal, a plain one twice a minute elsewhere.
#pragma once

#include <unistd.h>

#include <chrono>
#include <string>

#include "kernels/base.h"
#include "tools/command_line.h"

namespace glow {

class ProgressLine {
  public:
    // unit: what is counted, "images".
    ProgressLine(const CommandLine& command, std::string unit)
        : command_(command), unit_(std::move(unit)), terminal_(isatty(STDERR_FILENO) && !command.quiet()) {}

    void update(index_t done, index_t all) {
        const auto now = Clock::now();
        if (now - last_ < std::chrono::seconds(terminal_ ? 1 : 30)) return;
        last_ = now;
        const double rate = static_cast<double>(done) / std::chrono::duration<double>(now - start_).count();
        command_.say("{}{} of {} {}, {:.1f} {}/s, {:.0f} s left{}", terminal_ ? "\033[K" : "", done, all,
                     unit_, rate, unit_, static_cast<double>(all - done) / rate, terminal_ ? "\033[A" : "");
    }

  private:
    using Clock = std::chrono::steady_clock;
    const CommandLine& command_;
    std::string unit_;
    bool terminal_;
    Clock::time_point start_ = Clock::now(), last_ = start_;
};

}  // namespace glow

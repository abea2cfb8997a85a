// Clocks of a run.
#pragma once

#include <chrono>
#include <string>

#include "train/options.h"

namespace glow {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// "3d04h", "1h05m", "2m09s"
std::string duration_text(double seconds);

// Is an action due that happens every so many steps or minutes?
class Timer {
  public:
    explicit Timer(const Interval& interval) : interval_(interval) {}
    bool due(index_t step);

  private:
    Interval interval_;
    Clock::time_point last_ = Clock::now();
};

}  // namespace glow

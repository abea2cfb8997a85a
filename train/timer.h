// Clocks of a run.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "train/options.h"

namespace glow {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// "3d04h", "1h05m", "2m09s"
std::string duration_text(double seconds);

// Decides when an action that is repeated every N steps or minutes is due. An interval in minutes starts at
// `first_seconds`, so that a run shows results early, and doubles each time up to the full interval; it is at
// least kRest times as long as the action took.
class Timer {
  public:
    // now: the clock; tests have their own.
    Timer(const Interval& interval, double first_seconds,
          std::function<Clock::time_point()> now = Clock::now);
    bool due(index_t step);
    // The action that was due has ended.
    void done();

    static constexpr double kRest = 10;

  private:
    Interval interval_;
    double wait_;  // seconds
    std::function<Clock::time_point()> now_;
    Clock::time_point last_ = now_(), due_ = last_;
};

// Seconds to the first evaluation, samples and checkpoint of a run: a tenth of it, at most a minute.
double first_seconds(const TrainingOptions& options);

}  // namespace glow

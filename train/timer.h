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

// Is an action due that happens every so many steps or minutes? Minutes begin small, so that a run soon has something
// to show: after `first_seconds`, then after twice as long each time, but at least kRest times as long as the
// action took, until the interval is reached.
class Timer {
  public:
    Timer(const Interval& interval, double first_seconds);
    bool due(index_t step);
    // The action that was due has ended.
    void done();

    static constexpr double kRest = 10;

  private:
    Interval interval_;
    double wait_;  // seconds
    Clock::time_point last_ = Clock::now(), due_ = last_;
};

// Seconds to the first evaluation, samples and checkpoint of a run: a tenth of it, at most a minute.
double first_seconds(const TrainingOptions& options);

}  // namespace glow

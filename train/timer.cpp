#include "train/timer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace glow {

std::string duration_text(double seconds) {
    const auto s = static_cast<long>(seconds + 0.5);
    if (s >= 86400) return fmt::format("{}d{:02}h", s / 86400, s % 86400 / 3600);
    if (s >= 3600) return fmt::format("{}h{:02}m", s / 3600, s % 3600 / 60);
    return fmt::format("{}m{:02}s", s / 60, s % 60);
}

Timer::Timer(const Interval& interval, double first_seconds, std::function<Clock::time_point()> now)
    : interval_(interval), wait_(std::min(first_seconds, interval.count * 60)), now_(std::move(now)) {}

bool Timer::due(index_t step) {
    if (interval_.count <= 0) return false;
    if (!interval_.minutes) return step % static_cast<index_t>(interval_.count) == 0;
    due_ = now_();
    return std::chrono::duration<double>(due_ - last_).count() >= wait_;
}

void Timer::done() {
    last_ = now_();
    const double took = std::chrono::duration<double>(last_ - due_).count();
    wait_ = std::min(std::max(2 * wait_, kRest * took), interval_.count * 60);
}

double first_seconds(const TrainingOptions& options) {
    return options.max_minutes > 0 ? std::min(60.0, 0.1 * 60 * options.max_minutes) : 60.0;
}

}  // namespace glow

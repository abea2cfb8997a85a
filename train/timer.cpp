#include "train/timer.h"

#include <fmt/format.h>

namespace glow {

std::string duration_text(double seconds) {
    const auto s = static_cast<long>(seconds + 0.5);
    if (s >= 86400) return fmt::format("{}d{:02}h", s / 86400, s % 86400 / 3600);
    if (s >= 3600) return fmt::format("{}h{:02}m", s / 3600, s % 3600 / 60);
    return fmt::format("{}m{:02}s", s / 60, s % 60);
}

bool Timer::due(index_t step) {
    if (interval_.count <= 0) return false;
    if (!interval_.minutes) return step % static_cast<index_t>(interval_.count) == 0;
    if (seconds_since(last_) < interval_.count * 60) return false;
    last_ = Clock::now();
    return true;
}

}  // namespace glow

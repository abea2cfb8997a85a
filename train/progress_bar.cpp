#include "train/progress_bar.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

namespace glow {

std::string progress_bar(double fraction, const std::string& text, int columns) {
    constexpr int kWidest = 30, kNarrowest = 5;
    const int room = std::max(columns - 1, 1);
    std::string line = text;
    if (fraction >= 0) {
        const double done = std::min(fraction, 1.0);
        const std::string percent = fmt::format("{:3.0f}%  ", 100 * done);
        const int width = std::min(kWidest, room - static_cast<int>(percent.size() + text.size()) - 3);
        line = percent + text;
        if (width >= kNarrowest) {
            const auto filled = static_cast<std::size_t>(done * width);
            line = fmt::format("[{}{}] {}", std::string(filled, '#'),
                               std::string(static_cast<std::size_t>(width) - filled, '-'), line);
        }
    }
    return line.substr(0, static_cast<std::size_t>(room));
}

int terminal_columns() {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace glow

#include "tools/progress.h"

#include <unistd.h>

namespace glow {
namespace {

constexpr double kTerminalSeconds = 0.5, kPlainSeconds = 30;

double seconds(std::chrono::steady_clock::duration time) {
    return std::chrono::duration<double>(time).count();
}

}  // namespace

ProgressLine::ProgressLine(const CommandLine& command, std::string what)
    : command_(command), what_(std::move(what)), terminal_(isatty(STDERR_FILENO) != 0) {}

ProgressLine::~ProgressLine() {
    clear();
}

void ProgressLine::show(index_t done, index_t all) {
    const auto now = Clock::now();
    if (done < done_) start_ = reported_;
    done_ = done;
    reported_ = now;
    if (command_.quiet() || seconds(now - last_) < (terminal_ ? kTerminalSeconds : kPlainSeconds)) return;
    last_ = now;
    const double rate = static_cast<double>(done) / seconds(now - start_);
    const std::string line = fmt::format("{} of {} {}, {:.0f}/s, {:.0f} s left", done, all, what_, rate,
                                         static_cast<double>(all - done) / rate);
    if (!terminal_) return command_.info("{}", line);
    command_.draw_line(line);
}

}  // namespace glow

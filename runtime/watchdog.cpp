#include "runtime/watchdog.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

namespace glow {

void Heartbeat::pause() {
    expect(std::numeric_limits<double>::infinity());
}

Heartbeat& Heartbeat::of_this_thread() {
    static thread_local Heartbeat heartbeat;
    return heartbeat;
}

Watchdog::Watchdog(double limit_seconds, std::function<void(const std::string&)> end)
    : limit_(limit_seconds), end_(std::move(end)), thread_(thread_without_signals([this] { run(); })) {}

Watchdog::~Watchdog() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    stop_.notify_all();
    thread_.join();
}

void Watchdog::watch(const Heartbeat& heartbeat, std::string who, double limit_seconds) {
    const std::lock_guard lock(mutex_);
    watched_.push_back(
        {&heartbeat, std::move(who), limit_seconds > 0 ? limit_seconds : limit_, heartbeat.beats_, 0});
}

void Watchdog::poll(std::function<std::string()> check) {
    const std::lock_guard lock(mutex_);
    check_ = std::move(check);
}

void Watchdog::run() {
    using Clock = std::chrono::steady_clock;
    const std::chrono::duration<double> turn(std::min(0.2, limit_ / 20));
    Clock::time_point last = Clock::now();
    std::unique_lock lock(mutex_);
    while (!stop_.wait_for(lock, turn, [this] { return stopping_; })) {
        const Clock::time_point now = Clock::now();
        // A longer turn means that this process did not run, so it could not notice heartbeats either.
        const double elapsed = std::min(std::chrono::duration<double>(now - last), 4 * turn).count();
        last = now;
        if (const std::string reason = fault(elapsed); !reason.empty()) {
            lock.unlock();
            end_(reason);
            return;
        }
    }
}

std::string Watchdog::fault(double elapsed) {
    for (Watched& watched : watched_) {
        const double allowed = watched.heartbeat->allowed_;  // before the beats: see Heartbeat::expect()
        const std::uint64_t beats = watched.heartbeat->beats_;
        if (beats != watched.beats || std::isinf(allowed)) {
            watched.beats = beats;
            watched.silent = 0;
            continue;
        }
        watched.silent += elapsed;
        if (watched.silent <= std::max(allowed, watched.limit)) continue;
        const std::string doing = watched.heartbeat->doing_.load();
        return fmt::format("{} has been silent for {:.3g} s{}", watched.who, watched.silent,
                           doing.empty() ? "" : " (" + doing + ")");
    }
    return check_ ? check_() : "";
}

std::thread thread_without_signals(std::function<void()> body) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    std::thread thread(std::move(body));
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
}

}  // namespace glow

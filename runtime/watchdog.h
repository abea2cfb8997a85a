// Watchdog: a thread that ends the process when a watched thread or rank stops sending heartbeats.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace glow {

// Heartbeat counter of one thread or rank. beat() takes a few nanoseconds. Only one thread may call it, but
// others may read the counter at the same time.
class Heartbeat {
  public:
    void beat() { beats_.store(beats_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }

    // Beats, and sets when the next beat is due: within `seconds`, or the watchdog's limit if that is longer.
    // `doing`, a string literal, appears in the watchdog's message.
    void expect(double seconds = 0, const char* doing = "") {
        // The watchdog reads the time before the beats, so whoever reads a shorter time also sees this beat.
        beat();
        doing_ = doing;
        allowed_ = seconds;
    }
    // Suspends the limit until expect() is called.
    void pause();

    // The heartbeat of the calling thread.
    static Heartbeat& of_this_thread();

  private:
    friend class ScopedTimeout;
    friend class Watchdog;
    std::atomic<std::uint64_t> beats_{0};
    std::atomic<double> allowed_{0};
    std::atomic<const char*> doing_{""};
};

// In its scope, a thread may be silent for longer than the watchdog's limit. `doing`, a string literal,
// appears in the watchdog's message.
class ScopedTimeout {
  public:
    static constexpr double kFileSeconds = 1800;  // for reading or writing files

    explicit ScopedTimeout(const char* doing, double seconds = kFileSeconds,
                           Heartbeat& heartbeat = Heartbeat::of_this_thread())
        : heartbeat_(heartbeat), seconds_(heartbeat.allowed_), doing_(heartbeat.doing_) {
        heartbeat_.expect(seconds, doing);
    }
    ~ScopedTimeout() { heartbeat_.expect(seconds_, doing_); }
    ScopedTimeout(const ScopedTimeout&) = delete;
    ScopedTimeout& operator=(const ScopedTimeout&) = delete;

  private:
    Heartbeat& heartbeat_;
    double seconds_;
    const char* doing_;
};

class Watchdog {
  public:
    // Calls end(reason) once, on its own thread; end() should not return. Time counts only while this process
    // runs, so that a process that was suspended does not report the others as silent.
    Watchdog(double limit_seconds, std::function<void(const std::string&)> end);
    ~Watchdog();
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

    // Watches a heartbeat, which must outlive the watchdog. If it stops, the reason given to end() is "`who`
    // has been silent for 45 s". limit_seconds: replaces the watchdog's limit if not 0.
    void watch(const Heartbeat& heartbeat, std::string who, double limit_seconds = 0);
    // Sets a check that the watchdog's thread polls. It returns an error, which ends the process, or an empty
    // string. nullptr: none.
    void poll(std::function<std::string()> check);

  private:
    struct Watched {
        const Heartbeat* heartbeat;
        std::string who;
        double limit;  // seconds
        std::uint64_t beats;
        double silent;  // seconds
    };
    void run();
    std::string fault(double elapsed);

    double limit_;
    std::function<void(const std::string&)> end_;
    std::mutex mutex_;
    std::condition_variable stop_;
    bool stopping_ = false;
    std::vector<Watched> watched_;
    std::function<std::string()> check_;
    std::thread thread_;
};

// A thread that receives no signals.
std::thread thread_without_signals(std::function<void()> body);

}  // namespace glow

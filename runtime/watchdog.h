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

// Counts the signs of life of one thread or rank. beat() costs a few nanoseconds; one thread may beat while another reads.
class Heartbeat {
  public:
    void beat() { beats_.store(beats_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }

    // A beat is due after at most `seconds`, or the watchdog's limit if that is longer. `doing` must be a literal.
    void expect(double seconds = 0, const char* doing = "") {
        allowed_ = seconds;
        doing_ = doing;
        beat();
    }
    // No beat is due until expect().
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

// While it lives, a thread may be silent for longer than the watchdog's limit. `doing` must be a literal.
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
    // Calls end(reason) once, on its own thread; it should not return. Time advances only while this process runs: a
    // process that was stopped or suspended does not blame the others.
    Watchdog(double limit_seconds, std::function<void(const std::string&)> end);
    ~Watchdog();
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

    // Ends the process with "`who` has been silent for 45 s". limit_seconds: instead of the watchdog's, if not 0. The
    // heartbeat must outlive the watchdog.
    void watch(const Heartbeat& heartbeat, std::string who, double limit_seconds = 0);
    // Called on every turn of the watchdog's thread; returns what is wrong, or nothing. nullptr: none.
    void ask(std::function<std::string()> fault);

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
    std::function<std::string()> question_;
    std::thread thread_;
};

// A thread that receives no signals.
std::thread thread_without_signals(std::function<void()> body);

}  // namespace glow

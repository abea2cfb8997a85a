// Who works must be heard of: a thread that ends the process when one of those it watches falls silent.
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

// Signs of life of one thread or process. beat() costs a few nanoseconds and may be called by one thread
// while another one looks.
class Heartbeat {
  public:
    void beat() { beats_.store(beats_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }

    static constexpr double kFileTimeout = 1800;  // seconds that reading or writing a file may take

    // While it lives, `seconds` of silence are fine instead of the watchdog's own limit. `doing` is a
    // literal.
    class ScopedTimeout {
      public:
        ScopedTimeout(Heartbeat& heartbeat, double seconds, const char* doing)
            : heartbeat_(heartbeat), seconds_(heartbeat.allowed_), doing_(heartbeat.doing_) {
            heartbeat_.set(seconds, doing);
        }
        ~ScopedTimeout() { heartbeat_.set(seconds_, doing_); }
        ScopedTimeout(const ScopedTimeout&) = delete;
        ScopedTimeout& operator=(const ScopedTimeout&) = delete;

      private:
        Heartbeat& heartbeat_;
        double seconds_;
        const char* doing_;
    };

  private:
    friend class Watchdog;
    void set(double seconds, const char* doing) {
        allowed_ = seconds;
        doing_ = doing;
        beat();
    }

    std::atomic<std::uint64_t> beats_{0};
    std::atomic<double> allowed_{0};  // seconds; 0: the watchdog's limit
    std::atomic<const char*> doing_{""};
};

class Watchdog {
  public:
    // `end(reason)` is called once, on the watchdog's thread, and should not come back. Time is counted in
    // the watchdog's own turns, so that none passes while this process itself is stopped or suspended.
    Watchdog(double limit_seconds, std::function<void(const std::string&)> end);
    ~Watchdog();
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

    // The reason for the end will be "`who` has been silent for 45 s". The pulse must outlive the watchdog.
    void watch(const Heartbeat& heartbeat, std::string who);
    // Asked at every turn, on the watchdog's thread: what is wrong, or nothing. nullptr: no more.
    void ask(std::function<std::string()> fault);

  private:
    struct Watched {
        const Heartbeat* heartbeat;
        std::string who;
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

// A thread that leaves all signals to the others.
std::thread thread_without_signals(std::function<void()> body);

}  // namespace glow

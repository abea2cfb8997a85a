// Releases and acquires Python's global interpreter lock (GIL), even in a thread that outlives the
// interpreter.
#pragma once

#include <cxxabi.h>
#include <pybind11/pybind11.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace glow {

// Number of threads that work without the GIL, and whether the interpreter has ended. It does not wait for
// daemon threads.
inline std::atomic<int> working_threads = 0;
inline std::atomic<bool> interpreter_ended = false;

// Counts a thread in its scope.
class WorkingThread {
  public:
    WorkingThread() { ++working_threads; }
    ~WorkingThread() { --working_threads; }
    WorkingThread(const WorkingThread&) = delete;
    WorkingThread& operator=(const WorkingThread&) = delete;
};

// Called after the end of the interpreter. Waits until no thread works, but not forever. The process then
// destroys objects of libraries, such as oneDNN's tables: a thread that still uses them crashes.
inline void wait_for_working_threads() {
    constexpr std::chrono::seconds kTimeout(30);
    interpreter_ended = true;
    const auto start = std::chrono::steady_clock::now();
    while (working_threads > 0 && std::chrono::steady_clock::now() - start < kTimeout)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

// Releases the GIL of a thread that will work.
inline PyThreadState* release_gil() {
    ++working_threads;
    return PyEval_SaveThread();
}

// Takes the GIL for this thread. When the interpreter ends, Python before 3.14 ends a daemon thread here by
// unwinding its stack. That would stop at the first destructor with std::terminate(), and destroy Python
// objects without the GIL. The thread waits for the end of the process instead, as in later versions.
inline void take_gil(PyThreadState* thread) {
    --working_threads;
    try {
        PyEval_RestoreThread(thread);
    } catch (const abi::__forced_unwind&) {
        for (;;) pause();
    }
}

// In its scope, this thread does not hold the GIL.
class GilReleased {
  public:
    GilReleased() : thread_(release_gil()) {}
    ~GilReleased() {
        if (thread_ != nullptr) take_gil(thread_);
    }
    GilReleased(const GilReleased&) = delete;
    GilReleased& operator=(const GilReleased&) = delete;

    // Lets Python call its signal handlers. Throws what they raise, from then on with the GIL.
    void handle_signals() {
        take_gil(thread_);
        thread_ = nullptr;
        if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
        thread_ = release_gil();
    }
    // The same, at most every 0.1 s: another thread may hold the GIL for 5 ms each time.
    void handle_signals_sometimes() {
        const auto now = std::chrono::steady_clock::now();
        if (now < next_) return;
        next_ = now + std::chrono::milliseconds(100);
        handle_signals();
    }

  private:
    PyThreadState* thread_;
    std::chrono::steady_clock::time_point next_{};
};

}  // namespace glow

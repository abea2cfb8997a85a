// Releases and acquires Python's global interpreter lock (GIL), even in a thread that outlives the
// interpreter.
#pragma once

#include <cxxabi.h>
#include <pybind11/pybind11.h>
#include <unistd.h>

#include <chrono>

namespace glow {

// Takes the GIL for this thread. When the interpreter ends, Python before 3.14 ends a daemon thread here by
// unwinding its stack. That would stop at the first destructor with std::terminate(), and destroy Python
// objects without the GIL. The thread waits for the end of the process instead, as in later versions.
inline void take_gil(PyThreadState* thread) {
    try {
        PyEval_RestoreThread(thread);
    } catch (const abi::__forced_unwind&) {
        for (;;) pause();
    }
}

// In its scope, this thread does not hold the GIL.
class GilReleased {
  public:
    GilReleased() : thread_(PyEval_SaveThread()) {}
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
        thread_ = PyEval_SaveThread();
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

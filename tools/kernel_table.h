// Sums recorded kernel times by name, and compares them with the memory bandwidth.
#pragma once

#include <string>
#include <vector>

#include "kernels/base.h"
#include "runtime/kernel_profiler.h"

namespace glow {

// Description of a launch. A record's mark is the number of its launch in the list, counted from 1.
struct Launch {
    std::string name;
    double bytes = 0;  // bytes it must move; 0: unknown
};

// Labels a profiler's records with the launches that caused them.
class MarkedLaunches : public LaunchObserver {
  public:
    explicit MarkedLaunches(KernelProfiler& profiler) : profiler_(profiler) {}
    void launch(const char* name, double bytes) override {
        launches_.push_back({name, bytes});
        profiler_.mark(launches_.size());
    }
    void clear() { launches_.clear(); }
    const std::vector<Launch>& launches() const { return launches_; }

  private:
    KernelProfiler& profiler_;
    std::vector<Launch> launches_;
};

struct KernelRow {
    std::string name;
    double calls = 0, seconds = 0;  // per pass
    // Of the launches that declare their bytes and have this as their slowest kernel, per pass: their bytes,
    // and the seconds of all their kernels.
    double bytes = 0, seconds_of_bytes = 0;
};

// Rows by name, slowest first. Uses launch names if records carry a mark.
std::vector<KernelRow> kernel_table(const std::vector<KernelRecord>& records,
                                    const std::vector<Launch>& launches, double passes);

// Formats the rows with their sum. bandwidth: bytes/s of a copy on this device.
std::string describe(const std::vector<KernelRow>& rows, double bandwidth);

}  // namespace glow

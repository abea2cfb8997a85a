// Recorded kernels summed by name: which of them take a pass's time, and how near each is to the memory's speed.
#pragma once

#include <string>
#include <vector>

#include "kernels/base.h"
#include "runtime/kernel_profiler.h"

namespace glow {

// What is known of a launch beside its duration; a record's mark is its place in a list of these, counted from 1.
struct Launch {
    std::string name;
    double bytes = 0;  // that it must move; 0: it does not say
};

struct KernelRow {
    std::string name;
    double calls = 0, seconds = 0;          // a pass
    double bytes = 0, seconds_of_bytes = 0;  // a pass, of the launches that state their bytes
};

// Rows by name, the heaviest first. Names are those of launches where records carry a mark.
std::vector<KernelRow> kernel_table(const std::vector<KernelRecord>& records, const std::vector<Launch>& launches, double passes);

// The rows as text, with their sum. bandwidth: bytes/s of a copy on this device.
std::string describe(const std::vector<KernelRow>& rows, double bandwidth);

}  // namespace glow

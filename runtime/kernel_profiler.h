// What a GPU ran and how long it took, kernel by kernel, as NVIDIA's CUPTI records it. The library is looked for
// when it is wanted: it comes with a toolkit (extras/CUPTI/lib64) or with Python packages (nvidia/*/lib).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace glow {

struct KernelRecord {
    std::string name;  // demangled; "[copy]" and "[set]" for those of memory
    double seconds = 0;
    std::uint64_t mark = 0;  // the one in force when it was launched; 0: none, or launched by a graph
};

class KernelProfiler {
  public:
    virtual ~KernelProfiler() = default;
    // What the calling thread launches from here on carries this mark.
    virtual void mark(std::uint64_t mark) = 0;
    // Everything recorded since the last call, in the order in which it began. The device must be idle.
    virtual std::vector<KernelRecord> take() = 0;
};

// To be opened before the device is first used: graphs made earlier are not recorded kernel by kernel. Throws
// InputError where there is no CUPTI. file: the library, for tests.
std::unique_ptr<KernelProfiler> open_kernel_profiler(const std::string& file = "");

// A demangled name as a table shows it: without namespaces, result and parameters.
std::string short_kernel_name(const std::string& name);

}  // namespace glow

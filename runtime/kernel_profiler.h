// Records what a GPU runs and for how long, kernel by kernel, with NVIDIA's CUPTI. The library is loaded on
// demand from a toolkit (extras/CUPTI/lib64) or Python packages (nvidia/*/lib).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace glow {

struct KernelRecord {
    std::string name;  // demangled; "[copy]" and "[set]" for memory operations
    double seconds = 0;
    std::uint64_t mark = 0;  // mark in effect at launch; 0: none, or launched by a graph
};

class KernelProfiler {
  public:
    virtual ~KernelProfiler() = default;
    // Sets the mark of later launches by the calling thread.
    virtual void mark(std::uint64_t mark) = 0;
    // Everything recorded since the last call, in start order. The device must be idle.
    virtual std::vector<KernelRecord> take() = 0;
};

// Open before the device is first used: graphs captured earlier are not recorded kernel by kernel. Throws
// InputError without CUPTI. file: the library, for tests.
std::unique_ptr<KernelProfiler> open_kernel_profiler(const std::string& file = "");

// Shortens a demangled name for tables: without namespaces, result and parameters.
std::string short_kernel_name(const std::string& name);

}  // namespace glow

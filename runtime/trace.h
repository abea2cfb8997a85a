// Named, nested profiler ranges (NVTX): "backward", "level0/step3", "coupling". In a captured step they cover
// the capture, not its replays: profile with --no-graph.
#pragma once

#include <string>

namespace glow {

// From here to the end of the scope. No-op in a build without CUDA.
class Trace {
  public:
    explicit Trace(const char* name);
    explicit Trace(const std::string& name) : Trace(name.c_str()) {}
    ~Trace();
    Trace(const Trace&) = delete;
    Trace& operator=(const Trace&) = delete;
};

}  // namespace glow

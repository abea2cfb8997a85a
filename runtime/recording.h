// Work of one fixed shape, recorded as a CUDA graph and replayed: thousands of launches become one.
#pragma once

#include <functional>
#include <memory>

#include "kernels/base.h"

namespace glow {

class Recording {
  public:
    // Does what work() does, which must ask for the same launches with the same arguments at every call, and
    // must neither wait nor copy to or from the host. On CUDA with `replay` the first call runs it plainly,
    // so that libraries load what they need; the second records it; from then on the record is replayed.
    // Otherwise work() runs at every call. The results are the same to the last bit.
    void run(const Place& place, bool replay, const std::function<void()>& work);
    bool recorded() const { return graph_ != nullptr; }

  private:
    bool ran_ = false;
    std::shared_ptr<void> graph_;
};

// A named range of the time line that profilers show (NVTX), from here to the end of the scope.
class Trace {
  public:
    explicit Trace(const char* name);
    ~Trace();
    Trace(const Trace&) = delete;
    Trace& operator=(const Trace&) = delete;
};

}  // namespace glow

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
    // The same in two parts, with something between them that runs at every call and is not recorded.
    void run(const Place& place, bool replay, const std::function<void()>& work,
             const std::function<void()>& between, const std::function<void()>& rest);
    bool recorded() const { return recorded_; }

  private:
    bool ran_ = false, recorded_ = false;
    std::shared_ptr<void> graph_, rest_;
};

}  // namespace glow

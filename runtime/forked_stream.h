// A second stream, concurrent with the main one and ordered with it by events. On a CPU it is the main
// stream, and work runs immediately.
#pragma once

#include "kernels/base.h"
#include "runtime/cuda.h"

namespace glow {

class ForkedStream {
  public:
    // Opens nothing before the first fork().
    explicit ForkedStream(const Exec& main) : main_(main), forked_exec_(main) {}

    // The stream for concurrent work, after fork().
    const Exec& exec() const { return forked_exec_; }
    // Makes later work on the forked stream wait for everything queued on the main one.
    void fork();
    // Makes later work on the main stream wait for everything queued on the forked one.
    void join();

  private:
    Exec main_, forked_exec_;
    cuda::StreamPtr stream_;
    cuda::EventPtr forked_, joined_;
};

}  // namespace glow

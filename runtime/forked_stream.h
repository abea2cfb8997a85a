// A second queue of work, concurrent with a place's own: on a GPU a stream, ordered with the place's by events;
// elsewhere the place itself, where everything is done at once.
#pragma once

#include "kernels/base.h"
#include "runtime/cuda.h"

namespace glow {

class ForkedStream {
  public:
    // Opens nothing before the first fork().
    explicit ForkedStream(const Exec& main) : main_(main), side_(main) {}

    // Where to launch concurrent work; after fork().
    const Exec& exec() const { return side_; }
    // Later work on the forked stream waits for everything queued on the main one so far.
    void fork();
    // Later work on the main stream waits for everything queued on the forked one so far.
    void join();

  private:
    Exec main_, side_;
    cuda::StreamPtr stream_;
    cuda::EventPtr forked_, joined_;
};

}  // namespace glow

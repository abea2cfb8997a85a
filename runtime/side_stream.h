// A second queue of work beside a place's own: on a GPU a stream, ordered with the place's by events;
// elsewhere the place itself, where everything is done at once.
#pragma once

#include <memory>

#include "kernels/base.h"

namespace glow {

class SideStream {
  public:
    // Nothing is opened before the first fork().
    explicit SideStream(const Place& main) : main_(main), side_(main) {}

    // Where to launch what is to run beside; after fork().
    const Place& place() const { return side_; }
    // What the side is given from now on comes after all that the place was given so far.
    void fork();
    // What the place is given from now on comes after all that the side was given so far.
    void join();

  private:
    bool beside() const { return main_.device == Device::cuda; }

    Place main_, side_;
    std::shared_ptr<void> stream_, forked_, joined_;
};

}  // namespace glow

// Two streams, two events.
#include "runtime/side_stream.h"

#include "runtime/cuda.h"

namespace glow {

void SideStream::fork() {
    if (!beside()) return;
    if (stream_ == nullptr) {
        stream_ = cuda::open_stream_beside();
        forked_ = cuda::open_event();
        joined_ = cuda::open_event();
        side_.stream = stream_.get();
    }
    cuda::order(main_, side_, forked_.get());
}

void SideStream::join() {
    if (stream_ != nullptr) cuda::order(side_, main_, joined_.get());
}

}  // namespace glow

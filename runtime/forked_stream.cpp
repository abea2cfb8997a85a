#include "runtime/forked_stream.h"

namespace glow {

void ForkedStream::fork() {
    if (main_.device != Device::cuda) return;
    if (stream_ == nullptr) {
        stream_ = cuda::open_concurrent_stream();
        forked_ = cuda::open_event();
        joined_ = cuda::open_event();
        forked_exec_.stream = cuda::native_handle(*stream_);
    }
    cuda::order(main_, forked_exec_, *forked_);
}

void ForkedStream::join() {
    if (stream_ != nullptr) cuda::order(forked_exec_, main_, *joined_);
}

}  // namespace glow

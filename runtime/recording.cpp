// Record once, replay ever after.
#include "runtime/recording.h"

#include "runtime/cuda.h"

namespace glow {

void Recording::run(const Place& place, bool replay, const std::function<void()>& work) {
    if (place.device != Device::cuda || !replay || !ran_) {
        work();
        ran_ = true;
        return;
    }
    if (graph_ == nullptr) graph_ = cuda::record(place, work);
    cuda::replay(place, graph_.get());
}

Trace::Trace(const char* name) {
    cuda::begin_range(name);
}
Trace::~Trace() {
    cuda::end_range();
}

}  // namespace glow

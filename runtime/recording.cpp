// Record once, replay ever after.
#include "runtime/recording.h"

#include "runtime/cuda.h"

namespace glow {

void Recording::run(const Place& place, bool replay, const std::function<void()>& work) {
    run(
        place, replay, work, [] {}, nullptr);
}

void Recording::run(const Place& place, bool replay, const std::function<void()>& work,
                    const std::function<void()>& between, const std::function<void()>& rest) {
    const auto plainly = [&] {
        work();
        between();
        if (rest) rest();
    };
    if (place.device != Device::cuda || !replay || !ran_) {
        plainly();
        ran_ = true;
        return;
    }
    if (!recorded_) {
        // Both parts or, where one of them fails, neither.
        std::shared_ptr<void> graph = cuda::record(place, work), more;
        cuda::replay(place, graph.get());
        between();
        if (rest) {
            more = cuda::record(place, rest);
            cuda::replay(place, more.get());
        }
        graph_ = std::move(graph);
        rest_ = std::move(more);
        recorded_ = true;
        return;
    }
    cuda::replay(place, graph_.get());
    between();
    if (rest_ != nullptr) cuda::replay(place, rest_.get());
}

}  // namespace glow

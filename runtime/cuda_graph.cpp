#include "runtime/cuda_graph.h"

namespace glow {

CudaGraph::Capture::Capture(CudaGraph& graph, const Place& place, bool enabled)
    : graph_(graph), place_(place) {
    if (place.device != Device::cuda || !enabled || !graph.ran_) return;
    mode_ = graph.captured() ? Mode::replay : Mode::capture;
    if (mode_ == Mode::capture) {
        cuda::begin_capture(place_);
        capturing_ = true;
    }
}

void CudaGraph::Capture::launch() {
    if (capturing_) {
        capturing_ = false;
        graph_.graph_ = cuda::end_capture(place_);
    }
    if (mode_ != Mode::plain) cuda::replay(place_, *graph_.graph_);
    graph_.ran_ = true;
}

CudaGraph::Capture::~Capture() {
    if (capturing_) cuda::abort_capture(place_);
}

}  // namespace glow

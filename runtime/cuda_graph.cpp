#include "runtime/cuda_graph.h"

namespace glow {

CudaGraph::Capture::Capture(CudaGraph& graph, const Exec& exec, bool enabled) : graph_(graph), exec_(exec) {
    if (exec.device != Device::cuda || !enabled || !graph.ran_) return;
    mode_ = graph.captured() ? Mode::replay : Mode::capture;
    if (mode_ == Mode::capture) {
        cuda::begin_capture(exec_);
        capturing_ = true;
    }
}

void CudaGraph::Capture::launch() {
    if (capturing_) {
        capturing_ = false;
        graph_.graph_ = cuda::end_capture(exec_);
    }
    if (mode_ != Mode::plain) cuda::replay(exec_, *graph_.graph_);
    graph_.ran_ = true;
}

CudaGraph::Capture::~Capture() {
    if (capturing_) cuda::abort_capture(exec_);
}

}  // namespace glow

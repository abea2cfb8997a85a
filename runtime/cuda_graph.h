// Captures launches of fixed shape as a CUDA graph and replays them: one launch instead of thousands.
#pragma once

#include "kernels/base.h"
#include "runtime/cuda.h"

namespace glow {

// On CUDA, the first pass through a Capture launches directly, so that libraries load what they need; the
// second captures; later passes replay. On a CPU every pass runs directly. Results are bit-equal.
class CudaGraph {
  public:
    // Encloses a section of code, in the order in which it runs:
    //
    //     CudaGraph::Capture capture(graph, exec, enabled);
    //     if (capture.issues()) { ... }
    //     capture.launch();
    //
    // The section must issue the same launches every time, and neither wait nor copy to or from the host.
    // If the section throws before launch(), the capture is dropped and the stream stays usable.
    class Capture {
      public:
        Capture(CudaGraph& graph, const Exec& exec, bool enabled);
        ~Capture();
        Capture(const Capture&) = delete;
        Capture& operator=(const Capture&) = delete;

        // Whether the section must issue its launches this time.
        bool issues() const { return mode_ != Mode::replay; }
        void launch();

      private:
        enum class Mode { plain, capture, replay };
        CudaGraph& graph_;
        Exec exec_;
        Mode mode_ = Mode::plain;
        bool capturing_ = false;
    };

    bool captured() const { return graph_ != nullptr; }

  private:
    bool ran_ = false;
    cuda::GraphPtr graph_;
};

}  // namespace glow

// Work of one fixed shape, captured as a CUDA graph and replayed: thousands of launches become one.
#pragma once

#include "kernels/base.h"
#include "runtime/cuda.h"

namespace glow {

// On CUDA the first pass through a Capture issues its launches plainly, so that libraries load what they need; the
// second captures them; from then on they are replayed. Elsewhere every pass issues them. Results are equal to the
// last bit.
class CudaGraph {
  public:
    // A section of code, in the order in which it runs:
    //
    //     CudaGraph::Capture capture(graph, place, enabled);
    //     if (capture.issues()) { ... }   // must issue the same launches every time, without waiting or copying
    //     capture.launch();               // to or from the host
    //
    // Without launch(), because the section threw, a capture is dropped and the stream stays usable.
    class Capture {
      public:
        Capture(CudaGraph& graph, const Exec& exec, bool enabled);
        ~Capture();
        Capture(const Capture&) = delete;
        Capture& operator=(const Capture&) = delete;

        // Whether the launches of the section have to be issued this time.
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

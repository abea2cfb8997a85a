// --fused-update: parameters are updated while backward still runs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/optimiser.h"
#include "layers/glow.h"
#include "runtime/context.h"
#include "train/checkpoint.h"

namespace glow {

// Every piece of the parameters is updated as soon as backward has completed its gradient, whose memory then
// serves the next piece: gradients take the room of the largest piece, not of the model. Of several processes
// the sum of a piece's gradients runs beside backward of the next one, and there are two such buffers.
//
// What was updated cannot be taken back: a step that turns out bad leaves weights of which some are updated
// and some are not. A piece whose own gradient is not finite stays as it is.
class FusedUpdate : public GradientListener {
  public:
    // Takes its buffers from the arenas of gradients, state and communication. place: where the run's arrays
    // lie, also where the context is dry.
    FusedUpdate(const Context& context, const Place& place, Glow& glow, const Weights& weights,
                Memory& memory);

    // Before backward: what it is to update with.
    void start(const OptimiserStep& update);
    void begin(const TensorRange& range) override;
    void complete(const TensorRange& range) override;
    // After it: nothing is left to be updated.
    void finish();
    // In the place of a backward, of a process without images: its part of the sums, which is 0, and the same
    // updates as everywhere. Also finishes.
    void take_part();

    // Once the step has ended: the sum of the squares of all gradients; and the first piece in the order of
    // backward whose gradient is not finite, empty where there is none.
    double squares() const;
    std::string bad_piece() const;

  private:
    struct Summing {
        TensorRange range;
        float* gradient;
        index_t piece;
    };
    void update(const Summing& summed);
    std::vector<double> squares_of_pieces() const;

    const Context& context_;
    Glow& glow_;
    Weights weights_;
    std::vector<float*> buffers_;  // [size of the largest piece] each
    void* scratch_;                // of the communicator
    OptimiserStep* update_;        // these three in the memory of the place
    double* squares_;              // [pieces]
    double* partial_;
    index_t piece_ = 0;               // of backward's pieces, the one at work
    std::optional<Summing> summing_;  // the one before, on its way through the processes
};

}  // namespace glow

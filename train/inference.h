// Using a model without training it: likelihoods and samples, for the commands and for a run's own
// evaluations.
#pragma once

#include <filesystem>
#include <memory>

#include "kernels/dequantise.h"
#include "layers/glow.h"
#include "runtime/context.h"
#include "train/checkpoint.h"

namespace glow {

// Images: pixels [N, H, W, C], and for each the number that its noise follows.
struct Batch {
    index_t N = 0;
    const std::uint8_t* pixels = nullptr;
    const std::uint64_t* numbers = nullptr;
};

// The flow's buffers for `capacity` images at once.
struct FlowBuffers {
    index_t capacity = 0;
    state_t* h = nullptr;                        // [capacity, D]
    double *logdet = nullptr, *prior = nullptr;  // [capacity]
    static FlowBuffers take(Arena& state, index_t capacity, index_t D);
    Flow flow(index_t N) const { return {N, h, logdet, prior}; }
};

// Bits/dim of every image, with noise `noise` (its item numbers are the batch's). `glow` must be prepared.
// Any N.
void evaluate(const Context& context, Glow& glow, const FlowBuffers& buffers, const Batch& batch,
              const Noise& noise, double* bits_per_dim);

// Samples number first .. first + count - 1 of `seed` at a temperature into pixels [count, H, W, C].
void sample(const Context& context, Glow& glow, const FlowBuffers& buffers, index_t first, index_t count,
            double temperature, std::uint64_t seed, std::uint8_t* pixels);

// Mean and standard error of the mean.
struct Mean {
    double value = 0, standard_error = 0;
    index_t count = 0;
};
Mean mean_of(const double* values, index_t count);

// A checkpoint's model, ready to run.
class LoadedModel {
  public:
    // ema: the averaged weights where the checkpoint has them (`used_ema` tells), else the raw ones. images:
    // how many pass at once. Throws InputError for a checkpoint that is not whole.
    LoadedModel(const std::filesystem::path& checkpoint, bool ema, Precision precision, index_t images,
                const Backend& backend);

    Glow& glow() { return *glow_; }
    const CheckpointInfo& info() const { return info_; }
    bool used_ema() const { return used_ema_; }
    const Context& context() const { return *context_; }
    const FlowBuffers& buffers() const { return buffers_; }

  private:
    CheckpointInfo info_;
    bool used_ema_ = false;
    std::unique_ptr<Memory> memory_;
    std::unique_ptr<Context> context_;
    std::unique_ptr<Glow> glow_;
    FlowBuffers buffers_;
};

}  // namespace glow

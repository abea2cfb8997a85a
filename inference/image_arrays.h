// Images in arrays of the caller: log-densities, their gradients with respect to the images, and latents.
#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "inference/flow_buffers.h"
#include "inference/loaded_model.h"
#include "inference/sample_health.h"
#include "kernels/dequantize.h"
#include "layers/config.h"
#include "runtime/context.h"

namespace glow {

// N images [N, H, W, C] in pixel units: bytes, to which the model's noise is added (dequantization_of), or
// real numbers, where an 8-bit pixel p covers [p, p + 1).
struct PixelArray {
    index_t N = 0;
    std::variant<const std::uint8_t*, const float*, const double*> values;
    const std::int32_t* labels = nullptr;  // [N] in host memory, for conditional models
    bool on_device = false;                // values are in the memory of the model's GPU
    index_t number = 0;                    // of the first image, for noise and messages

    // Images first .. first + count - 1, of D values each.
    PixelArray slice(index_t first, index_t count, index_t D) const;
};

// Throws InputError unless there are N labels that fit the model, or none if it is not conditional.
void check_labels(const ModelConfig& model, index_t N, const std::int32_t* labels, std::size_t count);
void check_labels(const ModelConfig& model, index_t N, const std::vector<std::int32_t>& labels);

// The state of images first .. first + count - 1 in the model's buffers, ready for forward. Draw d of byte
// image n has the noise of noise_item(number + n, d).
Flow load_flow(const RunnableModel& model, const PixelArray& images, index_t first, index_t count,
               const Noise& noise, std::uint64_t draw = 0);
// The same in a counting context, for a full pass. Images of bytes need the most memory.
Flow count_load_flow(const RunnableModel& model);
// Throws for a log-density that is not finite, naming image n: InputError for real-valued images, otherwise
// Error.
[[noreturn]] void refuse_not_finite(const PixelArray& images, index_t n);

// log_density[n] = logdet + prior of image n, in nats per unit of the state. Byte images get the noise of
// likelihoods(). Throws as refuse_not_finite().
void log_densities(const RunnableModel& model, const PixelArray& images, std::uint64_t seed,
                   std::uint64_t draw, double* log_density);

// Latents (eps) of images by level, level 0 first: levels[l] [N, H_l, W_l, C_l] in host memory. Bytes are
// dequantized to the centers of their bins.
void encode_levels(const RunnableModel& model, const PixelArray& images, const std::vector<double*>& levels);
// Latents in host memory to pixels [N, H, W, C] in host memory; images that are not finite are crossed out.
// labels: [N] or nullptr. largest: [N] as in sample(), or nullptr. Returns how many are not valid.
SampleHealth decode_levels(const RunnableModel& model, index_t N, const std::vector<const double*>& levels,
                           const std::int32_t* labels, std::uint8_t* pixels, double* largest = nullptr);

// Gradients with respect to images, of log_densities() and of functions of the latents. It runs the backward pass of
// training, so its memory does not grow with depth unless reconstruction drifts. run() and run_latents() throw InputError
// if the log-density of an image is not finite.
class DensityGradient {
  public:
    // Uses the weights and buffers of `model`. `model` and `backend` must outlive this object. other_bytes:
    // memory in use besides the model's. Throws InputError if the host has too little memory, as run() does.
    DensityGradient(LoadedModel& model, const Backend& backend, std::size_t other_bytes = 0);
    ~DensityGradient();
    void set_other_bytes(std::size_t bytes) { other_bytes_ = bytes; }
    // Memory of its own. run() may need more if reconstruction drifts.
    std::size_t bytes() const;

    // log_density [N] in host memory; gradient [N, H, W, C] in nats per gray level, in the memory of
    // images.values.
    void run(const PixelArray& images, std::uint64_t seed, double* log_density, float* gradient);
    // The gradient of sum_l sum(upstream[l] * levels[l]), where `levels` are those of encode_levels(): a
    // vector-Jacobian product. upstream: as `levels`, in host memory; gradient: as above, per gray level.
    void run_latents(const PixelArray& images, const std::vector<const double*>& upstream, float* gradient);

  private:
    class Pass;
    void make_pass();
    // Calls f(first, count), which returns the drift of a pass, for all passes.
    template <class F>
    void for_each_checked_pass(index_t N, F f);

    LoadedModel& model_;
    const Backend& backend_;
    std::size_t other_bytes_;
    std::unique_ptr<Pass> pass_;  // with the memory of its policy
    bool saves_states_ = false;   // save all states, because reconstruction drifted
};

}  // namespace glow

// A trained model opened for a program that calls it: what the C++ library and the Python package share.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "inference/density_map.h"
#include "inference/likelihood.h"
#include "inference/loaded_model.h"
#include "inference/safetensors.h"
#include "inference/sample.h"
#include "inference/sample_health.h"
#include "runtime/context.h"
#include "runtime/cuda.h"

namespace glow {

// How to run a model.
struct SessionOptions {
    bool averaged = true;  // use averaged weights if the checkpoint has them
    Device device = Device::cpu;
    int threads = 0;  // of the CPU, 0: all available
    Precision precision = Precision::fp32;
    index_t batch = 64;  // images of the training size per pass, 1 .. 2^20
};

// Functions take any number of images of the current size, a pass of capacity() at a time, in host memory
// unless an argument says otherwise. Labels must fit the model (check_labels()).
class ModelSession {
  public:
    // file: a checkpoint, a run folder, or a file in safetensors format. Throws InputError.
    ModelSession(const std::filesystem::path& file, const SessionOptions& options);
    ModelSession(const ModelSession&) = delete;
    ModelSession& operator=(const ModelSession&) = delete;

    // Of the loaded model, with the current size of images.
    const ModelConfig& config() const { return model_.config(); }
    // Of the loaded model, with the size of the images it was trained on.
    const ModelConfig& trained_config() const { return model_.info().model; }
    index_t step() const { return model_.info().progress.step; }
    bool used_averages() const { return model_.used_ema(); }
    Device device() const { return backend_.exec().device; }
    int threads() const { return backend_.threads().used; }
    index_t capacity() const { return model_.buffers().capacity; }

    // Selects the session's GPU, if it uses one, until the result is destroyed. Call before any function below.
    std::unique_ptr<cuda::DeviceScope> select_device() const { return backend_.select_device(); }
    // The size for later calls. Throws InputError, with the session unchanged, if it does not fit the model
    // or the memory.
    void set_image_size(const ImageSize& size);

    // [N]. Throws InputError for numbers of draws that are out of range.
    std::vector<double> bits_per_dim(const PixelArray& images, const LikelihoodRequest& request);
    // log_prob [N] in nats per bin of the model's pixels; gradient [N, H, W, C] in nats per gray level, in the
    // memory of images.values.
    void log_prob_and_gradient(const PixelArray& images, std::uint64_t seed, double* log_prob,
                               float* gradient);
    // The gradient of the sum of upstream * latents of encode(): [N, H, W, C] per gray level, in the memory of
    // images.values. upstream: as the levels of encode().
    void encode_gradient(const PixelArray& images, const std::vector<const double*>& upstream,
                         float* gradient);
    // maps [N, H, W] of density_map_size(), in nats.
    void log_density_map(const PixelArray& images, std::uint64_t seed, double* maps);
    // As encode_levels() and decode_levels().
    void encode(const PixelArray& images, const std::vector<double*>& levels);
    SampleHealth decode(index_t N, const std::vector<const double*>& levels, const std::int32_t* labels,
                        std::uint8_t* pixels, double* largest = nullptr);
    // As glow::sample(), with images that are not finite crossed out, and log_prob [count] in nats per bin of
    // the model's pixels, of the images before quantization. Throws InputError for a temperature that is not
    // in 0 .. 100.
    SampleHealth sample(const SampleRequest& request, std::uint8_t* pixels, double* largest = nullptr,
                        double* log_prob = nullptr);

    // Calls f for every tensor of the weights in use, with its values [tensor.count] in host memory.
    void for_each_weight(const std::function<void(const Tensor& tensor, const float* values)>& f);
    // Writes the weights in use as a checkpoint, atomically.
    void save_weights(const std::filesystem::path& file);

  private:
    // In place: nats per unit of the state to nats per bin of the model's pixels.
    void per_bin(index_t N, double* log_density) const;
    // Opening a GPU selects it; `callers` selects the caller's again.
    ModelSession(const ModelFile& model, const SessionOptions& options, const cuda::DeviceScope& callers);

    const index_t batch_;
    Backend backend_;
    LoadedModel model_;
    DensityTools density_{model_, backend_};
};

}  // namespace glow

/// @file
/// The Glow library: exact likelihoods, samples, latents and training of invertible flows. In CMake:
/// `find_package(glow)` and link `glow::glow`.
///
/// Images are 8-bit, channels last, row-major: `[N, H, W, C]`. Functions throw `std::runtime_error` with a
/// message that says what was expected, what was found and how to fix it, and `std::bad_alloc` if results do
/// not fit the memory.
///
/// Use an object from one thread at a time; it runs on several threads internally. Inside an OpenMP parallel
/// region an object runs on the calling thread only, and results may differ by rounding.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

/// All of Glow. Only names declared in this header are part of the interface.
namespace glow {

/// Image shape and architecture of a model.
struct ModelShape {
    std::int64_t height = 32;   ///< image height in pixels
    std::int64_t width = 32;    ///< image width in pixels
    std::int64_t channels = 3;  ///< image channels, 1..4
    int n_bits = 8;             ///< bits per channel that the model uses, 1..8
    std::int64_t levels = 3;    ///< L in the paper; height and width must be multiples of 2^L
    std::int64_t depth = 32;    ///< K in the paper: flow steps per level
    std::int64_t hidden = 512;  ///< hidden channels of the coupling networks: `--width` of the commands
    std::int64_t classes = 0;   ///< number of classes; 0: not conditional

    /// Number of values in an image, and in its latents.
    std::int64_t dimensions() const { return height * width * channels; }
};

/// How to load and run a checkpoint.
struct LoadOptions {
    bool averaged = true;            ///< use averaged weights if the checkpoint has them
    std::string device = "auto";     ///< "cpu", "cuda", or "auto" (a GPU if available)
    std::string precision = "fp32";  ///< coupling networks: "fp32", "tf32" (GPUs) or "bf16"
    std::int64_t batch = 64;         ///< images of the training size per pass; memory grows with it
    int threads = 0;                 ///< CPU threads, 0..4096; 0: all processors available to the process
};

/// Log-densities of images and their gradients.
struct InputGradient {
    /// `[N]` nats. For 8-bit images, the same as TrainedModel::log_prob() with the same seed.
    std::vector<double> log_prob;
    std::vector<float> gradient;  ///< `[N, H, W, C]`: d log_prob[n] / d image n, in nats per gray level
};

/// A trained model. A moved-from object may only be destroyed or assigned to.
class TrainedModel {
  public:
    /// @param checkpoint a checkpoint file, a run folder (its `latest.h5`), or a file written by
    /// `glow_convert --to safetensors`
    /// @param options which weights to use, and how to run
    explicit TrainedModel(const std::string& checkpoint, const LoadOptions& options = {});
    ~TrainedModel();
    TrainedModel(TrainedModel&&) noexcept;             ///< Moves.
    TrainedModel& operator=(TrainedModel&&) noexcept;  ///< Moves.

    /// Shape of the loaded model, with the current size of images.
    ModelShape shape() const;
    /// Shape of the loaded model, with the size of the images it was trained on.
    ModelShape trained_shape() const;
    /// Sets the size of images for later calls. The parameters fit any size; check the likelihoods and
    /// samples to see how good the model is at that size. Of larger images, fewer than `LoadOptions::batch`
    /// are processed at a time.
    /// @param height,width multiples of 2^levels, in pixels
    void set_image_size(std::int64_t height, std::int64_t width);
    /// CPU threads, decided at construction: `LoadOptions::threads`, or fewer if the system, OpenMP's
    /// environment or an enclosing parallel region limits them.
    int threads() const;

    /// Log-likelihood of each discrete image in nats. It is a lower bound, estimated with noise added to each
    /// pixel within its bin. The noise is uniform, as in published results, or drawn from the model if that
    /// was trained with variational dequantization. Depends on `seed` and the image's index.
    /// @param images `[N, H, W, C]`
    /// @param labels `[N]` classes for a conditional model, otherwise empty
    /// @param seed seed of the noise
    /// @return `[N]`
    std::vector<double> log_prob(const std::vector<std::uint8_t>& images,
                                 const std::vector<std::int32_t>& labels = {}, std::uint64_t seed = 0);
    /// The same in bits/dim: `-log_prob / (dimensions ln 2)`. `glow_eval` reports the mean.
    std::vector<double> bits_per_dim(const std::vector<std::uint8_t>& images,
                                     const std::vector<std::int32_t>& labels = {}, std::uint64_t seed = 0);

    /// log_prob() by position: for each block of 2^levels x 2^levels pixels, the sum of its terms of log p
    /// and an equal share of the terms common to all positions. An image's map sums to its log_prob().
    /// @param images `[N, H, W, C]`
    /// @param labels as in log_prob()
    /// @param seed as in log_prob()
    /// @return `[N, H / 2^levels, W / 2^levels]` nats
    std::vector<double> log_density_map(const std::vector<std::uint8_t>& images,
                                        const std::vector<std::int32_t>& labels = {}, std::uint64_t seed = 0);

    /// Log-density of each image and its gradient with respect to the image, for adversarial examples or
    /// score-based methods. Adds the same noise to the images as log_prob(). Memory does not grow with depth.
    /// @param images `[N, H, W, C]`
    /// @param labels as in log_prob()
    /// @param seed as in log_prob()
    InputGradient input_gradient(const std::vector<std::uint8_t>& images,
                                 const std::vector<std::int32_t>& labels = {}, std::uint64_t seed = 0);
    /// The same without noise, at points between gray levels: a byte p represents the values in [p, p + 1).
    InputGradient input_gradient(const std::vector<double>& images,
                                 const std::vector<std::int32_t>& labels = {});

    /// Draws images.
    /// @param N number of images
    /// @param temperature standard deviation of every latent; 0.7 is common
    /// @param seed seed of the latents
    /// @param labels `[N]` classes for a conditional model, otherwise empty
    /// @return `[N, H, W, C]`; sample i depends only on seed and i. Non-finite samples, which occur at
    /// temperature 1 early in training, are marked with a white cross
    std::vector<std::uint8_t> sample(std::int64_t N, double temperature = 0.7, std::uint64_t seed = 0,
                                     const std::vector<std::int32_t>& labels = {});

    /// Images to latents, which are standard normal under the model.
    /// @return `[N, dimensions]`, per image from the deepest level to the shallowest
    std::vector<double> encode(const std::vector<std::uint8_t>& images,
                               const std::vector<std::int32_t>& labels = {});
    /// Latents to images. `decode(encode(images))` is `images` if `n_bits` is 8; with fewer bits, images get
    /// the gray levels of the model.
    /// @param latents `[N, dimensions]`
    /// @param labels as in log_prob()
    /// @return `[N, H, W, C]`; non-finite images are marked with a white cross
    std::vector<std::uint8_t> decode(const std::vector<double>& latents,
                                     const std::vector<std::int32_t>& labels = {});

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Training settings. Defaults are those of glow_train; the default model is the published one for CIFAR-10.
struct TrainOptions {
    ModelShape shape;             ///< image shape and architecture
    std::int64_t batch = 64;      ///< images per step
    double learning_rate = 1e-3;  ///< learning rate of Adamax
    /// Decay of Adamax's second moment and of the weight average. 0: 1 - 1 / (steps per 50,000 images), as
    /// glow_train does on CIFAR-10
    double beta2 = 0;
    /// Length of the linear learning-rate warm-up; 0: none. -1: the default of glow_train, 10 epochs of
    /// 50,000 images
    std::int64_t warmup_images = -1;
    std::uint64_t seed = 0;          ///< seed of the initial weights and all noise
    std::string device = "auto";     ///< as in LoadOptions
    std::string precision = "fp32";  ///< as in LoadOptions
    int threads = 0;                 ///< as in LoadOptions
};

/// A model in training: call `initialize` once, then `step` for each batch, and `save` as needed. Memory does
/// not grow with depth, because activations are reconstructed instead of stored. A moved-from object may only
/// be destroyed or assigned to.
class ModelTrainer {
  public:
    /// Allocates all memory needed for training. Throws if the machine does not have it.
    explicit ModelTrainer(const TrainOptions& options);
    ~ModelTrainer();
    ModelTrainer(ModelTrainer&&) noexcept;             ///< Moves.
    ModelTrainer& operator=(ModelTrainer&&) noexcept;  ///< Moves.

    /// Draws random weights, and sets every actnorm so that its outputs on these images have mean 0 and
    /// variance 1.
    /// @param images `[N, H, W, C]`, a batch of training images with N <= `batch`
    /// @param labels `[N]` classes for a conditional model
    void initialize(const std::vector<std::uint8_t>& images, const std::vector<std::int32_t>& labels = {});

    /// One optimizer step on the mean bits/dim of a batch.
    /// @param images `[batch, H, W, C]`
    /// @param labels `[batch]` classes for a conditional model
    /// @return mean bits/dim before the update
    double step(const std::vector<std::uint8_t>& images, const std::vector<std::int32_t>& labels = {});

    /// See TrainedModel::threads().
    int threads() const;

    /// Writes a checkpoint atomically. TrainedModel and all commands can read it. Throws, and leaves the file
    /// as it was, if training has diverged, the file belongs to a run of glow_train, or its name ends in
    /// `.safetensors`, `.npz` or `.onnx`.
    void save(const std::string& file) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Version of the library, "0.1.0", possibly with the commit it was built from.
std::string version();

}  // namespace glow

/// @file
/// Glow as a library: exact likelihoods, samples, latents and training of invertible flows, for programs that
/// `find_package(glow)` and link `glow::glow`.
///
/// Images are 8-bit, channels last: `[N, H, W, C]`, row by row, N of them one after the other. Every function
/// throws `std::runtime_error` with a message that says what was expected, what came and the way out. An
/// object is for one thread at a time; it uses several within. Any thread may call it, also inside an OpenMP
/// parallel region: there it computes on the calling thread alone, and results may differ by rounding.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

/// Everything of Glow. What this header does not declare is no part of the interface.
namespace glow {

/// The shape of a model's images and what it was built with.
struct ModelShape {
    std::int64_t height = 32;   ///< of an image, in pixels
    std::int64_t width = 32;    ///< of an image, in pixels
    std::int64_t channels = 3;  ///< of an image, 1..4
    int n_bits = 8;             ///< of a pixel that the model sees, 1..8
    std::int64_t levels = 3;    ///< L of the paper: height and width divide by 2^L
    std::int64_t depth = 32;    ///< K of the paper: flow steps a level
    std::int64_t hidden = 512;  ///< channels of the coupling networks
    std::int64_t classes = 0;   ///< 0: not conditional

    /// Values of an image, and of its latents.
    std::int64_t dimensions() const { return height * width * channels; }
};

/// How a checkpoint is loaded and run.
struct LoadOptions {
    bool averaged = true;         ///< the averaged weights where the checkpoint has them, else the raw ones
    std::string device = "auto";  ///< "cpu", "cuda", or "auto": the GPU where there is one
    std::string precision = "fp32";  ///< of the coupling networks: "fp32", "tf32" (GPUs) or "bf16"
    std::int64_t batch = 64;         ///< images that pass at once; memory grows with it
    int threads = 0;                 ///< 0: the processors that this process may use
};

/// A trained model, ready to use.
class TrainedModel {
  public:
    /// @param checkpoint a file, or the folder of a run (its `latest.h5`)
    /// @param options which weights, and where and how they run
    explicit TrainedModel(const std::string& checkpoint, const LoadOptions& options = {});
    ~TrainedModel();
    TrainedModel(TrainedModel&&) noexcept;             ///< Moves.
    TrainedModel& operator=(TrainedModel&&) noexcept;  ///< Moves.

    /// What the checkpoint says.
    ModelShape shape() const;
    /// Threads on the CPU, decided at construction: `LoadOptions::threads`, or fewer where the system,
    /// OpenMP's environment or a surrounding parallel region does not allow as many.
    int threads() const;

    /// log p of each image as a discrete one, in nats: with uniform noise in each pixel's bin (a lower bound,
    /// as published results have it), a function of `seed` and the image's place.
    /// @param images `[N, H, W, C]`
    /// @param labels `[N]` classes where the model is conditional, else empty
    /// @param seed of the noise
    /// @return `[N]`
    std::vector<double> log_prob(const std::vector<std::uint8_t>& images,
                                 const std::vector<std::int32_t>& labels = {}, std::uint64_t seed = 0);
    /// The same in bits/dim: `-log_prob / (dimensions ln 2)`; what `glow_eval --bpd` averages.
    std::vector<double> bits_per_dim(const std::vector<std::uint8_t>& images,
                                     const std::vector<std::int32_t>& labels = {}, std::uint64_t seed = 0);

    /// Draws images.
    /// @param N how many
    /// @param temperature the deviation of every latent; 0.7 is usual
    /// @param seed of the latents
    /// @param labels one a sample where the model is conditional
    /// @return `[N, H, W, C]`; sample i is a function of seed and i alone. One that is not finite, as some of
    /// a young model are at temperature 1, has a white cross over it
    std::vector<std::uint8_t> sample(std::int64_t N, double temperature = 0.7, std::uint64_t seed = 0,
                                     const std::vector<std::int32_t>& labels = {});

    /// Images to latents: standard normal numbers under the model.
    /// @return `[N, dimensions]`; an image's begin with the deepest level's
    std::vector<double> encode(const std::vector<std::uint8_t>& images,
                               const std::vector<std::int32_t>& labels = {});
    /// Latents to images: `decode(encode(images))` is `images`.
    /// @param latents `[N, dimensions]`
    /// @param labels as in log_prob()
    /// @return `[N, H, W, C]`, a white cross over one that is not finite
    std::vector<std::uint8_t> decode(const std::vector<double>& latents,
                                     const std::vector<std::int32_t>& labels = {});

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// How a model is trained; the defaults are the published ones.
struct TrainOptions {
    ModelShape shape;                    ///< of the images, and how large a model
    std::int64_t batch = 64;             ///< images of a step
    double learning_rate = 1e-3;         ///< of Adamax
    double beta2 = 0.999;                ///< decay of its second moment, and of the average of the weights
    std::int64_t warmup_images = 50000;  ///< over which the learning rate grows linearly; 0: none
    std::uint64_t seed = 0;              ///< of the initial weights and all noise
    std::string device = "auto";         ///< as in LoadOptions
    std::string precision = "fp32";      ///< as in LoadOptions
    int threads = 0;                     ///< 0: the processors that this process may use
};

/// A model in training: `initialize` once, then `step` for each batch, `save` now and then. Memory does not
/// grow with depth: activations are rebuilt, not stored.
class ModelTrainer {
  public:
    /// Takes all memory of its steps.
    explicit ModelTrainer(const TrainOptions& options);
    ~ModelTrainer();
    ModelTrainer(ModelTrainer&&) noexcept;             ///< Moves.
    ModelTrainer& operator=(ModelTrainer&&) noexcept;  ///< Moves.

    /// Random weights from the seed, and actnorms such that these images give them mean 0 and variance 1.
    /// @param images `[N, H, W, C]`, `batch` of them at most; a batch of training images
    /// @param labels `[N]` classes of a conditional model
    void initialize(const std::vector<std::uint8_t>& images, const std::vector<std::int32_t>& labels = {});

    /// One step of the optimizer on the mean bits/dim of a batch.
    /// @param images `[batch, H, W, C]`
    /// @param labels `[batch]` classes of a conditional model
    /// @return the mean bits/dim before the update
    double step(const std::vector<std::uint8_t>& images, const std::vector<std::int32_t>& labels = {});

    /// As TrainedModel::threads().
    int threads() const;

    /// Writes a checkpoint that TrainedModel and all commands read: whole or not at all.
    void save(const std::string& file) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// The version of the library, "0.1.0" or with the commit it was built from.
std::string version();

}  // namespace glow

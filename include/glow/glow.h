/// @file
/// The Glow library: exact likelihoods, samples, latents and training of invertible flows. In CMake:
/// `find_package(glow)` and link `glow::glow`.
///
/// Images are 8-bit, channels last, row-major: `[N, H, W, C]`. All arrays are contiguous and in host memory.
///
/// Any function may throw. InvalidArgument: an argument or file is wrong, or the machine or build lacks what
/// is needed, such as a GPU or memory. Other `std::runtime_error`: the work failed, for example because a
/// likelihood is not finite or a disk is full. Both have a message that says what was expected, what was
/// found and how to fix it. `std::bad_alloc`: results do not fit the memory.
///
/// Use an object from one thread at a time; it runs on several threads internally. Inside an OpenMP parallel
/// region an object runs on the calling thread only, and results may differ by rounding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

/// All of Glow. Only names declared in this header are part of the interface.
namespace glow {

/// An argument or file is wrong, or the machine or build lacks what is needed. Nothing was changed.
struct [[gnu::visibility("default")]] InvalidArgument : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Values in the caller's memory, as arguments: a `std::vector`, `std::array` or `std::span`, `{pointer,
/// size}` or a list `{0, 1, 2}`. Nothing is copied, so do not store views of temporary objects.
template <class T>
class ArrayView {
  public:
    /// No values.
    ArrayView() = default;
    /// @param data first value
    /// @param size number of values, of any integer type: of images, `N * H * W * C`
    template <class Size, class = std::enable_if_t<std::is_integral_v<Size>>>
    ArrayView(const T* data, Size size) : data_(data), size_(size > 0 ? static_cast<std::size_t>(size) : 0) {}
    /// Values that exist until the end of the call.
    ArrayView(std::initializer_list<T> values) : ArrayView(values.begin(), values.size()) {}
    /// The values of a container with `data()` and `size()`.
    template <class Container, class = std::enable_if_t<std::is_convertible_v<
                                   decltype(std::declval<const Container&>().data()), const T*>>>
    ArrayView(const Container& values) : ArrayView(values.data(), values.size()) {}

    const T* data() const { return data_; }     ///< first value
    std::size_t size() const { return size_; }  ///< number of values
    bool empty() const { return size_ == 0; }   ///< whether there is none

  private:
    const T* data_ = nullptr;
    std::size_t size_ = 0;
};

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
    std::int64_t batch = 64;  ///< images of the training size per pass, 1 .. 2^20; memory grows with it
    int threads = 0;          ///< CPU threads, 0..4096; 0: all processors available to the process
};

/// Noise that is added to 8-bit images, and the bound on their log-likelihood.
struct NoiseOptions {
    std::uint64_t seed = 0;  ///< seed of the noise
    /// Index of the first image, 0 .. 2^39. The noise of image n depends on `seed` and `first_image + n`: to
    /// score a data set in parts, pass the index that each part begins with. If the parts are multiples of
    /// LoadOptions::batch images, the results are those of one call, bit for bit; otherwise up to rounding.
    std::int64_t first_image = 0;
    /// S: number of noise draws u_s in the importance-weighted bound log((1/S) sum_s p(x + u_s)). More draws
    /// give a tighter bound. `iw_samples * dequant_samples` must be in 1 .. 2^20.
    std::int64_t iw_samples = 1;
    std::int64_t dequant_samples = 1;  ///< number of such bounds to average, each with its own draws
};

/// How to draw samples.
struct SampleOptions {
    double temperature = 0.7;  ///< standard deviation of every latent, 0 .. 100; 0.7 is common
    std::uint64_t seed = 0;    ///< seed of the latents; sample i depends only on it, i and its label
    std::vector<std::int32_t> labels = {};  ///< `[N]` classes for a conditional model, otherwise empty
};

/// Images that are not valid, by index in increasing order. They occur because the inverse of an affine flow
/// is unbounded, most often at temperature 1 early in training.
struct ImageProblems {
    std::vector<std::int64_t> not_finite;    ///< have an infinity or NaN; marked with a white cross
    std::vector<std::int64_t> out_of_range;  ///< finite, but a value exceeds ten times the range of pixels
};

/// Log-densities of images and their gradients.
struct InputGradient {
    /// `[N]` nats. For 8-bit images, TrainedModel::log_prob() with the same noise. For real numbers, the
    /// log-density per bin of the model's pixels: of one gray level if `n_bits` is 8.
    std::vector<double> log_prob;
    std::vector<float> gradient;  ///< `[N, H, W, C]`: d log_prob[n] / d image n, in nats per gray level
};

/// Where one level's latents, `[height, width, channels]`, are in the latents of an image.
struct LevelLatents {
    std::int64_t offset = 0;    ///< position of the first value
    std::int64_t height = 0;    ///< rows
    std::int64_t width = 0;     ///< columns
    std::int64_t channels = 0;  ///< values per position
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
    /// was trained with variational dequantization.
    /// @param images `[N, H, W, C]`
    /// @param labels `[N]` classes for a conditional model, otherwise empty
    /// @param noise seed, index of the first image, and number of draws
    /// @return `[N]`; throws `std::runtime_error`, naming the image, if one is not finite
    std::vector<double> log_prob(ArrayView<std::uint8_t> images, ArrayView<std::int32_t> labels = {},
                                 const NoiseOptions& noise = {});
    /// The same in bits/dim: `-log_prob / (dimensions ln 2)`. `glow_eval` reports the mean.
    std::vector<double> bits_per_dim(ArrayView<std::uint8_t> images, ArrayView<std::int32_t> labels = {},
                                     const NoiseOptions& noise = {});

    /// log_prob() by position: for each block of 2^levels x 2^levels pixels, the sum of its terms of log p
    /// and an equal share of the terms common to all positions. An image's map sums to its log_prob().
    /// @param images `[N, H, W, C]`
    /// @param labels as in log_prob()
    /// @param noise as in log_prob(), but iw_samples and dequant_samples must be 1
    /// @return `[N, H / 2^levels, W / 2^levels]` nats
    std::vector<double> log_density_map(ArrayView<std::uint8_t> images, ArrayView<std::int32_t> labels = {},
                                        const NoiseOptions& noise = {});

    /// Log-density of each image and its gradient with respect to the image, for adversarial examples or
    /// score-based methods. Adds the same noise to the images as log_prob(). Memory does not grow with depth.
    /// @param images `[N, H, W, C]`
    /// @param labels as in log_prob()
    /// @param noise as in log_prob(), but iw_samples and dequant_samples must be 1
    InputGradient input_gradient(ArrayView<std::uint8_t> images, ArrayView<std::int32_t> labels = {},
                                 const NoiseOptions& noise = {});
    /// The same without noise, at points between gray levels.
    /// @param images `[N, H, W, C]` in gray levels: a byte p represents the values in [p, p + 1). Throws
    /// InvalidArgument, naming the image, if a log-density is not finite
    /// @param labels as in log_prob()
    InputGradient input_gradient(ArrayView<double> images, ArrayView<std::int32_t> labels = {});

    /// Draws images.
    /// @param N number of images, at least 1
    /// @param options temperature, seed and labels
    /// @param problems if not null, set to the indices of images that are not valid
    /// @param log_prob if not null, set to `[N]` nats: the log-density under the model (at temperature 1) of
    /// each image before its values were rounded to pixels, per bin of the model's pixels, as
    /// input_gradient() of real numbers gives it. NaN if the image is not finite. Costs a forward pass.
    /// log_prob() of the rounded images adds noise of its own instead.
    /// @return `[N, H, W, C]`
    std::vector<std::uint8_t> sample(std::int64_t N, const SampleOptions& options = {},
                                     ImageProblems* problems = nullptr,
                                     std::vector<double>* log_prob = nullptr);

    /// Position and shape of each level in the latents of an image. Level 0, the finest detail, comes first.
    /// These are the arrays of encode() in Python and of files of latents, concatenated.
    std::vector<LevelLatents> latent_levels() const;
    /// Images to latents, which are standard normal under the model. Pixels stand for the centers of their
    /// bins, without noise.
    /// @param images `[N, H, W, C]`
    /// @param labels as in log_prob()
    /// @return `[N, dimensions]`, by level as latent_levels() says
    std::vector<double> encode(ArrayView<std::uint8_t> images, ArrayView<std::int32_t> labels = {});
    /// The same for real numbers, at points between gray levels.
    /// @param images `[N, H, W, C]`, as in input_gradient()
    /// @param labels as in log_prob()
    std::vector<double> encode(ArrayView<double> images, ArrayView<std::int32_t> labels = {});
    /// Gradient, with respect to the images, of a function of their latents (a vector-Jacobian product). Runs a
    /// forward and a backward pass; memory does not grow with depth.
    /// @param images `[N, H, W, C]`, as in input_gradient()
    /// @param latent_gradient `[N, dimensions]`: the function's gradient with respect to encode(images)
    /// @param labels as in log_prob()
    /// @return `[N, H, W, C]`, per gray level
    std::vector<float> encode_gradient(ArrayView<double> images, ArrayView<double> latent_gradient,
                                       ArrayView<std::int32_t> labels = {});
    /// Latents to images. `decode(encode(images))` equals `images` if `n_bits` is 8; with fewer bits, pixels
    /// are rounded to the model's gray levels.
    /// @param latents `[N, dimensions]`, as encode() returns them
    /// @param labels as in log_prob()
    /// @param problems if not null, set to the indices of images that are not valid
    /// @return `[N, H, W, C]`
    std::vector<std::uint8_t> decode(ArrayView<double> latents, ArrayView<std::int32_t> labels = {},
                                     ImageProblems* problems = nullptr);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Training settings. Defaults are those of glow_train; the default model is the published one for CIFAR-10.
struct TrainOptions {
    ModelShape shape = {};        ///< image shape and architecture
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

/// Results of a training step.
struct StepInfo {
    double bits_per_dim = 0;  ///< mean over the batch, before the update
    double grad_norm = 0;     ///< L2 norm of the gradient of the mean bits/dim with respect to all weights
    /// Largest error of a pixel reconstructed in backward; pixels have the range [-1/2, 1/2). If it is larger
    /// than rounding explains, the step is repeated with saved states.
    double drift = 0;
};

/// A model in training: call `initialize` once, or begin with a checkpoint; then `step` for each batch, and
/// `save` as needed. Memory does not grow with depth, because activations are reconstructed instead of stored.
/// A moved-from object may only be destroyed or assigned to.
class ModelTrainer {
  public:
    /// Allocates all memory needed for training. Throws InvalidArgument if the machine does not have it.
    explicit ModelTrainer(const TrainOptions& options);
    /// Continues from a checkpoint, with its model; `options.shape` is ignored. If save() wrote the checkpoint and
    /// the options are the same, the next steps equal those of the trainer that saved it, bit for bit. If
    /// glow_train wrote it, optimizer state, averages and number of steps are kept, but schedule and settings are
    /// those of `options`. If it holds weights only, all of these start anew. Throws like the other constructor,
    /// and InvalidArgument if the file is damaged or is not a checkpoint.
    /// @param checkpoint as in TrainedModel
    /// @param options how to train
    explicit ModelTrainer(const std::string& checkpoint, const TrainOptions& options);
    ~ModelTrainer();
    ModelTrainer(ModelTrainer&&) noexcept;             ///< Moves.
    ModelTrainer& operator=(ModelTrainer&&) noexcept;  ///< Moves.

    /// Draws random weights, and sets every actnorm so that its outputs on these images have mean 0 and
    /// variance 1.
    /// @param images `[N, H, W, C]`, a batch of training images with N <= `batch`
    /// @param labels `[N]` classes for a conditional model
    void initialize(ArrayView<std::uint8_t> images, ArrayView<std::int32_t> labels = {});

    /// One optimizer step on the mean bits/dim of a batch. Throws `std::runtime_error` if the loss or a
    /// gradient is not finite, or if a 1x1 convolution has become singular; the weights stay those of the
    /// step before.
    /// @param images `[batch, H, W, C]`
    /// @param labels `[batch]` classes for a conditional model
    /// @return mean bits/dim before the update
    double step(ArrayView<std::uint8_t> images, ArrayView<std::int32_t> labels = {});
    /// Shape of the model.
    ModelShape shape() const;
    /// Number of steps since initialize(), including those before the checkpoint.
    std::int64_t steps() const;
    /// More about the last step of this object that did not throw; zeros before the first.
    StepInfo last_step() const;

    /// See TrainedModel::threads().
    int threads() const;

    /// Writes a checkpoint atomically. TrainedModel and all commands can read it. Leaves the file as it was
    /// and throws InvalidArgument if it belongs to a run of glow_train or its name ends in `.safetensors`,
    /// `.npz` or `.onnx`, and another `std::runtime_error` if training has diverged or the disk is full.
    void save(const std::string& file) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Version of the library, "0.1.0", possibly with the commit it was built from.
std::string version();

}  // namespace glow

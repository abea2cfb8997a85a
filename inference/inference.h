// Likelihoods and samples from a model, for the commands and for evaluation during training.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "data/batch.h"
#include "data/dataset.h"
#include "inference/model_file.h"
#include "kernels/dequantize.h"
#include "layers/glow.h"
#include "runtime/context.h"

namespace glow {

// Buffers of the flow for up to `capacity` images.
struct FlowBuffers {
    index_t capacity = 0;
    state_t* h = nullptr;                          // [capacity, D]
    double *logdet = nullptr, *prior = nullptr;    // [capacity]
    double *bits_y = nullptr, *error_y = nullptr;  // [capacity] with a classifier
    double* minus_log_q = nullptr;                 // [capacity] with a dequantizer
    // On a GPU only: device copies of a batch.
    std::uint8_t* pixels = nullptr;    // [capacity, D]
    std::uint64_t* numbers = nullptr;  // [capacity]
    std::int32_t* labels = nullptr;    // [capacity]
    // device: where the buffers will be used, even if `state` only counts.
    static FlowBuffers take(Arena& state, index_t capacity, const ModelConfig& model, Device device);
    // The batch on the device: unchanged on the CPU, otherwise copied to these buffers, whose addresses are
    // fixed for captured graphs. Valid until the next call.
    Batch to_device(const Exec& exec, const Batch& batch, index_t D) const;
    const std::int32_t* labels_to_device(const Exec& exec, index_t N, const std::int32_t* classes) const;
    Flow flow(index_t N, const std::int32_t* labels = nullptr) const {
        return {N, h, logdet, prior, labels, bits_y, error_y};
    }
};

// Noise for a model's likelihood: variational if it has a dequantizer, otherwise uniform. The caller sets
// noise.item.
Dequantization dequantization_of(const ModelConfig& model);
Noise evaluation_noise(const ModelConfig& model, std::uint64_t seed);

// A model whose weights are bound and derived, and the buffers that images pass through.
struct RunnableModel {
    const Context& context;
    Glow& glow;
    const FlowBuffers& buffers;
};

// Results of evaluate(), [N] each; nullptr: not needed.
struct EvaluationOutputs {
    double* bits_per_dim = nullptr;
    double *logdet = nullptr, *prior = nullptr;    // nats
    double *bits_y = nullptr, *error_y = nullptr;  // unchanged without a classifier
    double* minus_log_q = nullptr;  // nats, part of logdet; unchanged without variational noise

    EvaluationOutputs from(index_t first) const;  // those of images first, first + 1, ...
};
// Evaluates every image with noise `noise` (item numbers are the batch's numbers). A conditional model reads
// the batch's labels. N may exceed the buffers.
void evaluate(const RunnableModel& model, const Batch& batch, const Noise& noise,
              const EvaluationOutputs& scores);
// Evaluates the images `part` of a split, as many at a time as the buffers hold; the results of image i go to
// element i of the arrays. Draw d of image i uses the noise of item i + 2^40 d. progress: images done.
void evaluate_split(const RunnableModel& model, const SplitImages& images, const Slice& part,
                    const Noise& noise, std::uint64_t draw, const EvaluationOutputs& scores,
                    const std::function<void(index_t done)>& progress = nullptr);

struct SampleRequest {
    index_t count = 0;
    double temperature = 0.7;
    std::uint64_t seed = 0;
    const std::int32_t* labels = nullptr;  // [count]: classes for a conditional model
    index_t first = 0;                     // number of the first sample
    // Called after each batch.
    std::function<void(index_t done)> progress = nullptr;
};
// Draws samples into pixels [count, H, W, C]; each depends only on seed and number. largest [count]: each
// image's largest |x| before quantization, infinity if not finite; nullptr: not needed.
void sample(const RunnableModel& model, const SampleRequest& request, std::uint8_t* pixels,
            double* largest = nullptr);

// The largest |x| of decoded images in flow.h before quantization, [flow.N], as in sample().
void largest_of_images(const Context& context, index_t D, const Flow& flow, double* largest);

// Counts invalid samples. Pixels are x in [-1/2, 1/2), but the inverse of an affine flow is unbounded: it
// divides by scales that are exponential in a state (docs/using.md).
struct SampleHealth {
    index_t of = 0;                           // number of images
    index_t not_finite = 0;                   // with an infinity or NaN (crossed out)
    index_t out_of_range = 0;                 // finite, but a value exceeds kOutOfRange
    static constexpr double kOutOfRange = 5;  // ten times the range of pixels

    // Adds N images; largest [N] as from sample().
    void add(index_t N, const double* largest);
    void add(const SampleHealth& others);
    bool any() const { return not_finite + out_of_range > 0; }
    // "9 of 64 not finite (crossed out), 1 far out of range"
    std::string text() const;
};
// Draws a cross over every non-finite image in [N, H, W, C], according to largest [N].
void cross_out_not_finite(const ModelConfig& model, index_t N, const double* largest, std::uint8_t* images);

// Classes of `count` samples in rows of `columns`: one class per column, cycling through the classes.
std::vector<std::int32_t> column_classes(index_t count, index_t columns, index_t n_classes);

// Throws InputError if the device has no matrix products of that precision.
void check_precision(const Backend& backend, Precision precision);

// Largest error of a reconstructed image, in units of the state, that rounding explains. A reconstructed
// network input may round differently from the original; the image is then off by a rounding step of the
// networks' precision.
double drift_tolerance(Precision precision);

// Mean and standard error of the mean, which is undefined (0 here) for fewer than two values.
struct Mean {
    double value = 0, standard_error = 0;
    index_t count = 0;
    std::optional<double> error() const { return count > 1 ? std::optional(standard_error) : std::nullopt; }
};
Mean mean_of(const double* values, index_t count);

// Throws InputError, with the reason, unless a split fits a checkpoint's model: equal channels, height and
// width divisible by 2^L and, for a conditional model, labels with the right number of classes.
void require_fitting(const std::filesystem::path& data, const DatasetInfo& info, const std::string& split,
                     const std::filesystem::path& checkpoint, const ModelConfig& model);

// Images of a size per pass: `batch`, or fewer if they are larger than the training images, so that memory
// does not grow with the size. At least one.
index_t images_at_once(const ModelConfig& trained, const ImageSize& size, index_t batch);

// A checkpoint's model, ready to run on images of one size.
class LoadedModel {
  public:
    // ema: use the averaged weights if the checkpoint has them (see used_ema()), otherwise the raw ones.
    // images: per pass. size: of the images; by default that of the training images. Throws InputError for an
    // incomplete checkpoint, a size that does not fit the model, or one that needs more memory than the host
    // has.
    LoadedModel(const std::filesystem::path& checkpoint, bool ema, Precision precision, index_t images,
                const Backend& backend, std::optional<ImageSize> size = {});

    // Changes the image size, with the same weights. Invalidates the results of runnable(), glow(), context()
    // and buffers(). Throws as the constructor does, and then leaves the model unchanged.
    void resize(const ImageSize& size, index_t images);
    // Throws InputError unless the host has memory for the model and `more` bytes.
    void require_memory(std::size_t more) const;

    Glow& glow() { return *run_.glow; }
    const ModelConfig& config() const { return run_.glow->config(); }
    // Contents of the checkpoint; its model has the size of the training images.
    const CheckpointInfo& info() const { return info_; }
    // `config` of the checkpoint, with the current image size.
    nlohmann::ordered_json config_json() const;
    bool used_ema() const { return used_ema_; }
    Precision precision() const { return precision_; }
    const Context& context() const { return *run_.context; }
    const FlowBuffers& buffers() const { return run_.buffers; }
    RunnableModel runnable() { return {*run_.context, *run_.glow, run_.buffers}; }

  private:
    // Everything that depends on the image size.
    struct Run {
        std::unique_ptr<Glow> glow;
        std::unique_ptr<Memory> memory;
        std::unique_ptr<Context> context;
        FlowBuffers buffers;
        std::size_t bytes = 0;  // of `memory`
    };
    Run make_run(const ImageSize& size, index_t images) const;

    std::filesystem::path checkpoint_;
    CheckpointInfo info_;
    Precision precision_;
    const Backend* backend_;
    bool used_ema_ = false;
    std::unique_ptr<Memory> weights_memory_;
    float *values_ = nullptr, *fixed_ = nullptr;  // the parameters
    Run run_;
};

}  // namespace glow

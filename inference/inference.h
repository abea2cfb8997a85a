// Using a model without training it: likelihoods and samples, for the commands and for a run's own
// evaluations.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "data/batch.h"
#include "data/dataset.h"
#include "inference/model_file.h"
#include "kernels/dequantize.h"
#include "layers/glow.h"
#include "runtime/context.h"

namespace glow {

// The flow's buffers for `capacity` images at once.
struct FlowBuffers {
    index_t capacity = 0;
    state_t* h = nullptr;                          // [capacity, D]
    double *logdet = nullptr, *prior = nullptr;    // [capacity]
    double *bits_y = nullptr, *error_y = nullptr;  // [capacity] where there is a classifier
    // On a GPU only: a batch is copied to where its kernels run.
    std::uint8_t* pixels = nullptr;    // [capacity, D]
    std::uint64_t* numbers = nullptr;  // [capacity]
    std::int32_t* labels = nullptr;    // [capacity]
    // device: what the buffers are for, also where `state` only counts.
    static FlowBuffers take(Arena& state, index_t capacity, const ModelConfig& model, Device device);
    // The batch where the kernels run: itself on the CPU, on a GPU a copy in these buffers, whose addresses captured
    // graphs know. Valid until the next call.
    Batch to_device(const Exec& exec, const Batch& batch, index_t D) const;
    const std::int32_t* labels_to_device(const Exec& exec, index_t N, const std::int32_t* classes) const;
    Flow flow(index_t N, const std::int32_t* labels = nullptr) const {
        return {N, h, logdet, prior, labels, bits_y, error_y};
    }
};

// A model whose weights are bound and derived, and the buffers that images pass through.
struct RunnableModel {
    const Context& context;
    Glow& glow;
    const FlowBuffers& buffers;
};

// Where evaluate() leaves what it finds, [N] each; nullptr: not wanted.
struct Scores {
    double* bits_per_dim = nullptr;
    double *logdet = nullptr, *prior = nullptr;    // nats
    double *bits_y = nullptr, *error_y = nullptr;  // left alone where the model has no classifier

    Scores from(index_t first) const;  // those of images first, first + 1, ...
};
// Scores of every image, with noise `noise` (its item numbers are the batch's). A conditional model reads the
// batch's labels. Any N.
void evaluate(const RunnableModel& model, const Batch& batch, const Noise& noise, const Scores& scores);
// Scores of the images `part` of a split, read as many at a time as pass the model together, into elements
// part.first on of the arrays. Draw d of image i has the noise of item i + 2^40 d. progress: images done.
void evaluate_split(const RunnableModel& model, const SplitImages& images, const Slice& part,
                    const Noise& noise, std::uint64_t draw, const Scores& scores,
                    const std::function<void(index_t done)>& progress = nullptr);

struct SampleRequest {
    index_t count = 0;
    double temperature = 0.7;
    std::uint64_t seed = 0;
    const std::int32_t* labels = nullptr;  // [count]: their classes, of a conditional model
    index_t first = 0;                     // number of the first one
};
// Samples into pixels [count, H, W, C], each a function of seed and number, however many are made at once.
// largest [count]: of each the largest |x| before it became pixels, infinite where it is not finite; nullptr:
// not wanted.
void sample(const RunnableModel& model, const SampleRequest& request, std::uint8_t* pixels,
            double* largest = nullptr);

// What an image was before it became pixels: of decoded latents in flow.h, [flow.N] as sample() gives it.
void largest_of_images(const Context& context, index_t D, const Flow& flow, double* largest);

// Images that a model made and that are none. Pixels are x in [-1/2, 1/2), and the inverse of an affine flow
// has no bound: it divides by scales that are exponential in a state (docs/using.md).
struct SampleHealth {
    index_t of = 0;            // images
    index_t not_finite = 0;    // infinite or NaN somewhere: black there, which an image could be too
    index_t out_of_range = 0;  // finite, and above kFarOut somewhere
    static constexpr double kFarOut = 5;  // ten times the range of pixels

    // largest [N] as sample() gives it. += those among them.
    void add(index_t N, const double* largest);
    bool any() const { return not_finite + out_of_range > 0; }
    // "9 of 64 not finite (crossed out), 1 far out of range"
    std::string text() const;
};
// A cross over every one of images [N, H, W, C] that is not finite, by its largest [N].
void cross_out_not_finite(const ModelConfig& model, index_t N, const double* largest, std::uint8_t* images);

// The classes of `count` samples that are laid out in rows of `columns`: each column one class, in turn.
std::vector<std::int32_t> column_classes(index_t count, index_t columns, index_t n_classes);

// Throws InputError where the device has no products of that precision.
void check_precision(const Backend& backend, Precision precision);

// Mean and standard error of the mean.
struct Mean {
    double value = 0, standard_error = 0;
    index_t count = 0;
};
Mean mean_of(const double* values, index_t count);

// Does a split fit a checkpoint's model: shape of the images, and labels of the right number of classes where
// the model is conditional? InputError says what does not.
void require_fitting(const std::filesystem::path& data, const DatasetInfo& info, const std::string& split,
                     const std::filesystem::path& checkpoint, const ModelConfig& model);

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
    RunnableModel runnable() { return {*context_, *glow_, buffers_}; }

  private:
    CheckpointInfo info_;
    bool used_ema_ = false;
    std::unique_ptr<Memory> memory_;
    std::unique_ptr<Context> context_;
    std::unique_ptr<Glow> glow_;
    FlowBuffers buffers_;
};

}  // namespace glow

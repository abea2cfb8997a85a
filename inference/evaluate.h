// Evaluates images: their likelihoods, for the commands and during training.
#pragma once

#include <functional>

#include "data/batch.h"
#include "data/dataset.h"
#include "inference/flow_buffers.h"
#include "kernels/dequantize.h"
#include "layers/config.h"

namespace glow {

// Noise for a model's likelihood: variational if it has a dequantizer, otherwise uniform. The caller sets
// noise.item.
Dequantization dequantization_of(const ModelConfig& model);
Noise evaluation_noise(const ModelConfig& model, std::uint64_t seed);
// The item of a draw of noise for an image: image + 2^40 draw.
constexpr std::uint64_t noise_item(index_t image, std::uint64_t draw) {
    return static_cast<std::uint64_t>(image) | draw << 40;
}

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
              const EvaluationOutputs& outputs);
// Evaluates the images `slice` of a split, as many at a time as the buffers hold; the results of image i go to
// element i of the arrays. Draw d of image i uses the noise of item noise_item(i, d). progress: images done.
void evaluate_split(const RunnableModel& model, const SplitImages& images, const Slice& slice,
                    const Noise& noise, std::uint64_t draw, const EvaluationOutputs& outputs,
                    const std::function<void(index_t done)>& progress = nullptr);

}  // namespace glow

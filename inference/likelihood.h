// Likelihoods of a set of images under a model: averages over noise, importance-weighted bounds, and the
// parts of log p.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "data/dataset.h"
#include "inference/flow_buffers.h"
#include "inference/image_arrays.h"
#include "inference/loaded_model.h"
#include "kernels/dequantize.h"

namespace glow {

struct LikelihoodRequest {
    // Empty: dequantization_of() the model. Draw d of image i uses Philox stream (seed, Purpose::evaluate,
    // noise_item(i, d)).
    std::optional<Dequantization> dequant;
    std::uint64_t seed = 0;
    // The result for an image is the mean of dequant_samples bounds. Each bound has its own S = iw_samples
    // draws of noise: log p(image) >= E[log (1/S) sum_s p(x + u_s)], tighter for larger S. Bound d uses draws
    // d S .. d S + S - 1.
    index_t dequant_samples = 1, iw_samples = 1;
    // Counts images times draws; may be empty. May throw, which ends the computation.
    std::function<void(index_t done, index_t all)> progress;
};

// Throws InputError unless both numbers and their product are in 1 .. 2^20.
void check_draws(const LikelihoodRequest& request);

struct Likelihoods {
    std::vector<double> bits_per_dim;     // [N]
    std::vector<double> bits_y, error_y;  // [N] with a classifier, otherwise empty
    double logdet = 0, prior = 0;         // nats per image, averaged over images and draws
    double minus_log_q = 0;               // of variational noise, part of logdet
};
// The noise of a request; without item numbers. Throws InputError if the model does not have it.
Noise noise_of(LoadedModel& model, const LikelihoodRequest& request);

// Reads the images as needed, once per draw. Their shape and labels must fit the model (require_fitting).
// Throws Error, naming the image, if a likelihood is not finite. Collective: the context's processes share
// the images, and all get the results of all.
Likelihoods likelihoods(LoadedModel& model, const SplitImages& images, const LikelihoodRequest& request);

// The bits/dim alone, [N], of images in the caller's memory; equal to those of likelihoods(). request.dequant
// is not used: bytes get the model's noise, real numbers none.
std::vector<double> bits_per_dim(const RunnableModel& model, const PixelArray& images,
                                 const LikelihoodRequest& request);

// Contributions to the mean bits/dim; `bins` is n_bits, from the pixels' bin width. Their sum is the mean
// without importance weights.
struct Breakdown {
    double bins = 0, prior = 0, actnorm = 0, mixing = 0, coupling = 0;
    double noise = 0;  // mean of log q of variational noise
};
Breakdown break_down(LoadedModel& model, const Likelihoods& likelihoods);

}  // namespace glow

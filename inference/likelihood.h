// Likelihoods of a set of images under a loaded model: averages over noise, importance-weighted bounds, and
// the parts that log p is made of.
#pragma once

#include <functional>
#include <vector>

#include "data/dataset.h"
#include "inference/inference.h"

namespace glow {

struct LikelihoodRequest {
    // uniform: draw d of image i is Philox stream (seed, Purpose::evaluate, i + 2^40 d).
    Dequantization dequant = Dequantization::uniform;
    std::uint64_t seed = 0;
    // Of every image: the mean over dequant_samples bounds, each from iw_samples draws of its own,
    // log p(image) >= E[log (1/S) sum_s p(x + u_s)]. More draws a bound: tighter in expectation. Bound d
    // takes draws d S .. d S + S - 1.
    index_t dequant_samples = 1, iw_samples = 1;
    std::function<void(index_t done, index_t all)> progress;  // images times draws; may be empty
};

struct Likelihoods {
    std::vector<double> bits_per_dim;     // [N]
    std::vector<double> bits_y, error_y;  // [N] of a classifier, else empty
    double logdet = 0, prior = 0;         // nats per image, means over images and draws
};
// The images are read as they are needed, once a draw. They must fit the model (require_fitting). Throws
// Error, naming the image, where a likelihood is not finite.
Likelihoods likelihoods(LoadedModel& model, const SplitImages& images, const LikelihoodRequest& request);

// What mean bits/dim consists of, in bits/dim; `bins` is n_bits, for the pixels' width. Their sum is the mean
// without importance weights.
struct Breakdown {
    double bins = 0, prior = 0, actnorm = 0, mixing = 0, coupling = 0;
};
Breakdown break_down(LoadedModel& model, const Likelihoods& likelihoods);

}  // namespace glow

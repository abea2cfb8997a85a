// Log-densities by position: how much each part of an image adds to its log-density.
//
// A map has the grid of the last level: a position stands for a block of 2^L x 2^L pixels, because squeezing keeps
// neighbors together. It holds every term of log p that belongs to the block: log scales of the couplings,
// log-densities of the latents of all levels, and an equal part of what is the same for all positions (actnorms,
// mixings, the width of the bins). A map sums to the image's log-density. Terms depend on the pixels around the block
// too, because the networks see a neighborhood.
#pragma once

#include <vector>

#include "inference/image_arrays.h"
#include "inference/likelihood.h"

namespace glow {

ImageSize density_map_size(const ModelConfig& model);

class DensityMaps {
  public:
    // Uses the weights and buffers of `model`, which must outlive it and keep its image size, as must `backend`.
    DensityMaps(LoadedModel& model, const Backend& backend);

    // maps [N, H, W] of density_map_size(), in nats, in host memory. Noise of byte images as in log_densities(), or none.
    // Throws as log_densities().
    void run(const PixelArray& images, const Noise& noise, std::uint64_t draw, double* maps);

  private:
    void take(Memory& memory);
    void compute(const Context& context, Flow& flow);

    LoadedModel& model_;
    const index_t positions_;  // of an image
    double constant_ = 0;      // the equal part of a position
    std::unique_ptr<Memory> memory_;
    std::unique_ptr<Context> context_;
    double *maps_ = nullptr, *pixels_ = nullptr;  // [capacity, positions], [capacity, H_0 * W_0]
};

// Maps of a set of images [N, H, W], averaged over request.dequant_samples draws of noise; iw_samples must be 1. With
// `dequant_samples` 1 and the images in passes of the same size, equal to DensityMaps. Collective, as likelihoods().
std::vector<double> density_maps(LoadedModel& model, const Backend& backend, const SplitImages& images,
                                 const LikelihoodRequest& request);

}  // namespace glow

// Maps of log-density: the contribution of each part of an image to its log-density.
//
// A map has the grid of the last level: a position is a block of 2^L x 2^L pixels, because squeezing keeps
// neighbors together. Its value is the sum of the terms of log p that belong to the block (log scales of the
// couplings, log-densities of the latents of all levels) and an equal share of the terms common to all
// positions (actnorms, mixings, bin width and -log q of variational noise). A map sums to the image's
// log-density. Values also depend on the pixels around the block, because the networks see a neighborhood.
#pragma once

#include <memory>
#include <vector>

#include "inference/image_arrays.h"
#include "inference/likelihood.h"
#include "inference/loaded_model.h"

namespace glow {

ImageSize density_map_size(const ModelConfig& model);

class DensityMaps {
  public:
    // Uses the weights and buffers of `model`. `model` and `backend` must outlive this object; the model's
    // image size must not change. other_bytes: memory in use besides the model's. Throws InputError if the
    // host has too little memory.
    DensityMaps(LoadedModel& model, const Backend& backend, std::size_t other_bytes = 0);
    std::size_t bytes() const { return bytes_; }  // memory of its own

    // maps: [N, H, W] of density_map_size(), in nats, in host memory. noise: for images of bytes; `draw` is
    // its number. Throws as log_densities().
    void run(const PixelArray& images, const Noise& noise, std::uint64_t draw, double* maps);

  private:
    void take(Memory& memory);
    void compute(const Context& context, Flow& flow);

    LoadedModel& model_;
    const index_t positions_;  // of an image
    double constant_ = 0;      // a position's share of the terms common to all images
    std::size_t bytes_ = 0;    // of memory_
    std::unique_ptr<Memory> memory_;
    std::unique_ptr<Context> context_;
    double *maps_ = nullptr, *pixels_ = nullptr;  // [capacity, positions], [capacity, H_0 * W_0]
};

// The gradient and the maps of a model, each made when it is first used. Their memory is checked together.
class DensityTools {
  public:
    // `model` and `backend` must outlive this object. Call reset() when the model's image size changes.
    DensityTools(LoadedModel& model, const Backend& backend) : model_(model), backend_(backend) {}

    DensityGradient& gradient();
    DensityMaps& maps();
    void reset() {
        gradient_.reset();
        maps_.reset();
    }

  private:
    LoadedModel& model_;
    const Backend& backend_;
    std::unique_ptr<DensityGradient> gradient_;
    std::unique_ptr<DensityMaps> maps_;
};

// Maps [N, H, W] of a set of images, averaged over request.dequant_samples draws of noise; iw_samples must be
// 1. Equal to DensityMaps::run() for one draw and passes of the same size. Collective, as likelihoods().
std::vector<double> density_maps(LoadedModel& model, const Backend& backend, const SplitImages& images,
                                 const LikelihoodRequest& request);

}  // namespace glow

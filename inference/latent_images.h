// Images to latents in host memory and back, and edits of latents there.
//
// A latent vector is one image's eps, D standard normal numbers in the order of latent_parts(): the deepest
// level first.
#pragma once

#include <vector>

#include "inference/inference.h"
#include "inference/latents.h"

namespace glow {

// N images [N, H, W, C], at most model.buffers().capacity, with labels [N] where the model is conditional, to
// eps [N * D] as they lie in flow.h; no noise is added (--dequant center).
void encode_images(LoadedModel& model, index_t N, const std::uint8_t* pixels, const std::int32_t* labels,
                   state_t* eps);
// here: N, h (eps) and labels in host memory. Overwrites pixels [N, H, W, C], and largest [N] as sample()
// gives it, where it is wanted.
void decode_images(LoadedModel& model, const Flow& latents, std::uint8_t* pixels, double* largest = nullptr);

using Latent = std::vector<double>;
// Any number of images, batch by batch; labels are empty or one an image; largest, where wanted, becomes [N].
std::vector<Latent> encode_all(LoadedModel& model, const ImageSet& set);
std::vector<std::uint8_t> decode_all(LoadedModel& model, const std::vector<Latent>& latents,
                                     const std::vector<std::int32_t>& labels,
                                     std::vector<double>* largest = nullptr);

// ---- Edits ---------------------------------------------------------------------------------------

// From a (t = 0) to b (t = 1), along the chord, or along the great circle with the length in between: vectors
// of many normal numbers are all about as long, and a chord's middle is not.
Latent between_linear(const Latent& a, const Latent& b, double t);
Latent between_spherical(const Latent& a, const Latent& b, double t);

// factors [L], level 0 first: eps of level l times factors[l].
void scale_levels(const ModelConfig& model, const std::vector<double>& factors, Latent& latent);
// The latents of level l of `latent` become those of `from`.
void take_level(const ModelConfig& model, index_t level, const Latent& from, Latent& latent);

// Sums over latents that come one by one, of those with the attribute and those without.
class Direction {
  public:
    explicit Direction(index_t D);
    void add(const Latent& latent, bool has);
    index_t with() const { return counts_[1]; }
    index_t without() const { return counts_[0]; }
    // Mean of those with it minus mean of those without it.
    Latent mean_difference() const;

  private:
    std::vector<Latent> sums_;  // [2]
    std::vector<index_t> counts_;
};

// The weights w of the linear classifier that minimizes mean((w x + b - y)^2) + ridge |w|^2 over latents x,
// y = 1 with the attribute and -1 without, weighted so that both count alike; by conjugate gradients. As a
// direction its length is such that a step of 1 moves the classifier as far as the two means lie apart.
// latents [N, D] as floats. Error where one of the two is empty.
Latent linear_direction(const std::vector<float>& latents, index_t D, const std::vector<std::uint8_t>& has,
                        double ridge);

}  // namespace glow

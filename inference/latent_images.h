// Images to latents in host memory and back, and edits of latents there.
//
// A latent vector is one image's eps, D standard normal numbers in the order of glow::latent_levels():
// deepest level first.
#pragma once

#include <functional>
#include <vector>

#include "inference/latents.h"
#include "inference/loaded_model.h"
#include "layers/config.h"

namespace glow {

// Encodes N <= model.buffers().capacity images [N, H, W, C], with labels [N] for a conditional model, to eps
// [N * D] in the layout of flow.h. No noise is added (--dequant center).
void encode_images(LoadedModel& model, index_t N, const std::uint8_t* pixels, const std::int32_t* labels,
                   state_t* eps);
// latents: N, h (eps) and labels in host memory. Sets pixels [N, H, W, C] and, unless nullptr, largest [N] as
// in sample().
void decode_images(LoadedModel& model, const Flow& latents, std::uint8_t* pixels, double* largest = nullptr);

using Latent = std::vector<double>;
// For any number of images, batch by batch. labels: empty or one per image; largest, unless nullptr: resized
// to [N]. progress: images done.
std::vector<Latent> encode_all(LoadedModel& model, const ImageSet& set);
std::vector<std::uint8_t> decode_all(LoadedModel& model, const std::vector<Latent>& latents,
                                     const std::vector<std::int32_t>& labels,
                                     std::vector<double>* largest = nullptr,
                                     const std::function<void(index_t done)>& progress = nullptr);

// ---- Edits ---------------------------------------------------------------------------------------

// From a (t = 0) to b (t = 1) along a straight line, or along a great circle with interpolated length:
// vectors of many standard normal numbers have almost equal lengths, but the midpoint of a straight line
// between two is shorter.
Latent between_linear(const Latent& a, const Latent& b, double t);
Latent between_spherical(const Latent& a, const Latent& b, double t);

// factors [L], level 0 first: eps of level l times factors[l].
void scale_levels(const ModelConfig& model, const std::vector<double>& factors, Latent& latent);
// The latents of level l of `latent` become those of `from`.
void take_level(const ModelConfig& model, index_t level, const Latent& from, Latent& latent);

// Accumulates latents one by one: sums over those with the attribute and those without.
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
// y = 1 with the attribute and -1 without, with equal total weight for both groups; by conjugate gradients.
// Scaled so that a step of 1 changes the classifier's output by the distance between the means of the two
// groups. latents [N, D] as floats. Throws if a group is empty.
Latent linear_direction(const std::vector<float>& latents, index_t D, const std::vector<std::uint8_t>& has,
                        double ridge);

}  // namespace glow

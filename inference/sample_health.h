// Samples that are not images: values that are not finite, or far out of range.
#pragma once

#include <string>

#include "layers/config.h"

namespace glow {

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
// Draws a cross over every non-finite image in [N, H, W, C], according to largest [N]. Returns their health.
SampleHealth cross_out_not_finite(const ModelConfig& model, index_t N, const double* largest,
                                  std::uint8_t* images);

}  // namespace glow

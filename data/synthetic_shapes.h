// Pictures of one shape each on a shaded ground, labeled by the shape: a small set on which class
// conditioning can be seen to work. Four classes: 0 disc, 1 square, 2 triangle, 3 cross; place, size, turn
// and colors are random.
#pragma once

#include <cstdint>

#include "data/source.h"

namespace glow {

inline constexpr std::int32_t kShapeClasses = 4;
inline constexpr index_t kSmallestShapes = 8;  // pixels a side

// Image number n of the stream of a seed, [size, size, channels], and its label; a function of (seed, n)
// alone. channels 1 or 3.
std::int32_t make_shape(std::uint64_t seed, std::uint64_t n, index_t size, index_t channels,
                        std::uint8_t* image);

// Test image number n is image 2^41 + n of the stream.
class ShapesSource : public ImageSource {
  public:
    ShapesSource(index_t size, index_t channels, index_t train, index_t test, std::uint64_t seed,
                 int threads);
    const SourceInfo& info() const override { return info_; }
    void read(Part part, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
              std::uint8_t* usable) override;

  private:
    SourceInfo info_;
    std::uint64_t seed_;
    int threads_;
};

}  // namespace glow

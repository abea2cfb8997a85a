// Images of one shape on a shaded background, labeled by shape: a small set for testing class conditioning.
// Classes: 0 disc, 1 square, 2 triangle, 3 cross. Position, size, rotation and colors are random.
#pragma once

#include <cstdint>

#include "data/source.h"

namespace glow {

inline constexpr std::int32_t kShapeClasses = 4;
inline constexpr index_t kMinShapes = 8;  // minimum side in pixels

// Draws image n of a seed's stream, [size, size, channels], and returns its label. Depends only on (seed, n).
// channels: 1 or 3.
std::int32_t make_shape(std::uint64_t seed, std::uint64_t n, index_t size, index_t channels,
                        std::uint8_t* image);

// Test image n is image 2^41 + n of the stream.
class ShapesSource : public ImageSource {
  public:
    ShapesSource(index_t size, index_t channels, index_t train, index_t test, std::uint64_t seed,
                 int threads);
    const SourceInfo& info() const override { return info_; }
    void read(SourceSplit split, index_t first, index_t count, std::uint8_t* images, std::int32_t* labels,
              std::uint8_t* usable) override;

  private:
    SourceInfo info_;
    std::uint64_t seed_;
    int threads_;
};

}  // namespace glow

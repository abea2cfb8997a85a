// Coverage is estimated from 4 x 4 samples per pixel.
#include "data/synthetic_shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "kernels/philox.h"

namespace glow {
namespace {

constexpr int kSamples = 4;  // per side of a pixel
constexpr std::uint64_t kTestStart = std::uint64_t{1} << 41;

// Whether the point is inside the shape. Coordinates are relative to its size and rotation.
bool inside(std::int32_t shape, double x, double y) {
    switch (shape) {
        case 0:
            return x * x + y * y <= 1.0;
        case 1:
            return std::max(std::abs(x), std::abs(y)) <= 0.8;
        case 2:  // corners on the unit circle, one at the top
            return y <= 0.5 && 1.7320508075688772 * std::abs(x) - y <= 1.0;
        default:
            return std::min(std::abs(x), std::abs(y)) <= 0.3 && std::max(std::abs(x), std::abs(y)) <= 1.0;
    }
}

}  // namespace

std::int32_t make_shape(std::uint64_t seed, std::uint64_t n, index_t size, index_t channels,
                        std::uint8_t* image) {
    double u[12];
    for (std::uint64_t block = 0; block < 3; ++block) {
        const PhiloxWords words = philox_block(seed, Purpose::synthetic, n, block);
        for (int i = 0; i < 4; ++i)
            u[4 * block + static_cast<std::uint64_t>(i)] = philox_uniform(words.word[i]);
    }
    const auto shape = static_cast<std::int32_t>(u[0] * kShapeClasses);
    const double side = static_cast<double>(size), radius = side * (0.2 + 0.18 * u[1]);
    const double center_x = radius + (side - 2 * radius) * u[2],
                 center_y = radius + (side - 2 * radius) * u[3];
    const double cosine = cos_2pi(u[4]) / radius, sine = sin_2pi(u[4]) / radius;
    // Dark background shaded from left to right, bright shape; values in 0..1.
    double ground[3], color[3];
    for (int c = 0; c < 3; ++c) {
        ground[c] = 0.05 + 0.3 * u[5 + c];
        color[c] = 0.45 + 0.5 * u[8 + c];
    }
    const double shade = 0.3 * (u[11] - 0.5) / side;
    for (index_t row = 0; row < size; ++row) {
        for (index_t column = 0; column < size; ++column) {
            int hits = 0;
            for (int i = 0; i < kSamples * kSamples; ++i) {
                const double x = static_cast<double>(column) + (i % kSamples + 0.5) / kSamples - center_x;
                const double y = static_cast<double>(row) + (i / kSamples + 0.5) / kSamples - center_y;
                hits += inside(shape, cosine * x + sine * y, cosine * y - sine * x) ? 1 : 0;
            }
            const double cover = hits / static_cast<double>(kSamples * kSamples);
            const double slope = shade * (2 * static_cast<double>(column) - side);
            for (index_t c = 0; c < channels; ++c) {
                const double light = cover * color[c] + (1 - cover) * (ground[c] + slope);
                image[(row * size + column) * channels + c] =
                    static_cast<std::uint8_t>(std::clamp(std::floor(256 * light), 0.0, 255.0));
            }
        }
    }
    return shape;
}

ShapesSource::ShapesSource(index_t size, index_t channels, index_t train, index_t test, std::uint64_t seed,
                           int threads)
    : info_{"synthetic shapes", size, size, channels, kShapeClasses, train, test},
      seed_(seed),
      threads_(threads) {
    if (size < kMinShapes || (channels != 1 && channels != 3))
        throw InputError(
            fmt::format("expected images of at least {0} x {0} pixels and 1 or 3 channels, found "
                        "{1} x {1} and {2}",
                        kMinShapes, size, channels));
}

void ShapesSource::read(SourceSplit split, index_t first, index_t count, std::uint8_t* images,
                        std::int32_t* labels, std::uint8_t*) {
    const std::uint64_t start =
        (split == SourceSplit::test ? kTestStart : 0) + static_cast<std::uint64_t>(first);
#pragma omp parallel for num_threads(threads_)
    for (index_t n = 0; n < count; ++n)
        labels[n] = make_shape(seed_, start + static_cast<std::uint64_t>(n), info_.H, info_.C,
                               images + n * info_.image_bytes());
}

}  // namespace glow

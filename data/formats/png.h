// PNG files: reads every kind as 8 bits per channel, writes 8-bit pictures.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/base.h"

namespace glow {

// An 8-bit picture. C: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha.
struct Image {
    index_t H = 0, W = 0, C = 0;
    std::vector<std::uint8_t> pixels;  // [H, W, C]
};

// Called with a picture's height and width when they are known, before memory for its pixels is allocated.
using SizeHook = std::function<void(index_t H, index_t W)>;

// Pictures with more pixels or a longer side are refused before memory is allocated.
inline constexpr index_t kPngPixelLimit = index_t{1} << 28;
inline constexpr index_t kPngSideLimit = 1000000;
// Larger image files are refused.
inline constexpr index_t kImageBytesLimit = index_t{1} << 30;

// The bytes of an image file. Throws InputError if it is missing, not a regular file or above
// kImageBytesLimit.
std::vector<std::uint8_t> read_image_bytes(const std::filesystem::path& path);

// Decodes a PNG file. C = 0 keeps the file's channels (a palette becomes RGB, tRNS becomes alpha); C in 1..4
// converts as in with_channels. Throws InputError, naming `shown`, if the data is not PNG, truncated, damaged
// or above a limit.
//
// Pixels are the encoded values: gAMA, sRGB, cHRM, iCCP and bKGD are ignored. 16 bits become 8 first, as
// round(v / 257); alpha is composited after that. The picture is upright: the orientation of eXIf is applied.
Image decode_png(std::span<const std::uint8_t> bytes, const std::string& shown, index_t C = 0,
                 const SizeHook& on_size = {});
Image read_png(const std::filesystem::path& path, index_t C = 0);

// Converts the image to C channels, 1..4. Dropped alpha is composited over black in encoded values,
// round(value * alpha / 255); added alpha is opaque. Colors become gray by BT.601 luminance.
Image with_channels(Image image, index_t C);

// Size of the encoded file, without writing it.
std::size_t png_bytes(const Image& image);

// Writes atomically. Throws InputError if the name does not end in .png or cannot be written, Error if the
// disk is full.
void write_png(const std::filesystem::path& path, const Image& image);

}  // namespace glow

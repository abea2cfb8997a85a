// PNG files: every kind is read as 8 bits a channel; 8-bit pictures are written.
#pragma once

#include <cstdint>
#include <filesystem>
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

// Pictures of more pixels, or with a longer side, are refused before memory is allocated.
inline constexpr index_t kPngPixelLimit = index_t{1} << 28;
inline constexpr index_t kPngSideLimit = 1000000;
// Image files above this size are refused.
inline constexpr index_t kImageBytesLimit = index_t{1} << 30;

// The bytes of an image file. InputError: missing, not a regular file, above kImageBytesLimit.
std::vector<std::uint8_t> read_image_bytes(const std::filesystem::path& path);

// C = 0 keeps the file's own channels (a palette becomes RGB, a tRNS chunk alpha); 1..4 converts as
// with_channels does. InputError: not a PNG file, truncated, damaged, above a limit; errors name `shown`.
//
// Pixels are the encoded values: gAMA, sRGB, cHRM, iCCP and bKGD are ignored. 16 bits become 8 first, as
// round(v / 257); alpha is composited after that. The picture is upright: the orientation of eXIf is applied.
Image decode_png(std::span<const std::uint8_t> bytes, const std::string& shown, index_t C = 0);
Image read_png(const std::filesystem::path& path, index_t C = 0);

// The image with C channels, 1..4. Alpha that is dropped is composited over black in the encoded values,
// round(value * alpha / 255); alpha that is added is opaque. Colors become gray by BT.601 luminance.
Image with_channels(Image image, index_t C);

// Bytes of its file, which is not written.
std::size_t png_bytes(const Image& image);

// Atomic. InputError: the name does not end in .png, or it cannot be written there; Error: disk full.
void write_png(const std::filesystem::path& path, const Image& image);

}  // namespace glow

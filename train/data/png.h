// 8-bit PNG files through libpng's simplified interface.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "kernels/base.h"

namespace glow {

// An 8-bit picture. C: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
struct Image {
    index_t H = 0, W = 0, C = 0;
    std::vector<std::uint8_t> pixels;  // [H, W, C]
};

// Pictures of more pixels are refused, before memory is taken.
inline constexpr index_t kPngPixelLimit = index_t{1} << 28;

// C = 0 keeps the file's own channels (a palette becomes RGB); 1..4 converts, alpha laid over black where it
// goes. InputError: missing, not a PNG, damaged, above the limit.
// 16 bits a channel become 8, colours become sRGB where the file names its gamma.
Image read_png(const std::filesystem::path& path, index_t C = 0);
// The same from the bytes of a file; errors speak of `shown`.
Image decode_png(std::span<const std::uint8_t> bytes, const std::string& shown, index_t C = 0);

// Bytes of its file, which is not written.
std::size_t png_bytes(const Image& image);

// Atomic. InputError: cannot be written there; Error: disk full.
void write_png(const std::filesystem::path& path, const Image& image);

}  // namespace glow

// GIF decoder (giflib). Without giflib, no_gif.cpp takes the place of gif.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/formats/png.h"

namespace glow {

// Was this program built with giflib?
bool reads_gif();

// The first frame on the file's canvas: C = 3, or C = 4 if pixels are transparent, as those are that the frame does not
// cover. InputError: damaged, truncated, without a palette, above kPngPixelLimit, or a build without giflib. Errors
// speak of `shown`. lost: what the file has and these pixels lack; left alone if nothing.
Image decode_gif(std::span<const std::uint8_t> bytes, const std::string& shown, std::string* lost = nullptr);

}  // namespace glow

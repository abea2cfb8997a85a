// GIF decoder (giflib). Without giflib, no_gif.cpp takes the place of gif.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/formats/png.h"

namespace glow {

// Whether this program was built with giflib.
bool reads_gif();

// The first frame on the file's canvas: C = 3, or C = 4 if pixels are transparent, like those outside of the
// frame. Throws InputError, naming `shown`, for a file that is damaged, truncated, without a palette or
// above kPngPixelLimit, and in a build without giflib. lost: set to a description of what the result leaves
// out; unchanged if nothing.
Image decode_gif(std::span<const std::uint8_t> bytes, const std::string& shown, std::string* lost = nullptr,
                 const SizeHook& on_size = {});

}  // namespace glow

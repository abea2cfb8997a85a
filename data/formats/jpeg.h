// JPEG decoder (libjpeg).
#pragma once

#include <span>
#include <string>

#include "data/formats/png.h"

namespace glow {

inline constexpr index_t kJpegPixelLimit = kPngPixelLimit;

// The first picture of the file. Gray pictures have C = 1, all others become RGB: CMYK without a color
// profile, its inks inverted as Adobe stores them, with Adobe's marker or without. The picture is upright:
// EXIF orientation is applied. Throws InputError, naming `shown`, for a file that is not JPEG, truncated,
// damaged, above the limit, or of more than 200 scans. lost: set to a description of what the result leaves
// out; unchanged if nothing.
Image decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& shown, std::string* lost = nullptr,
                  const SizeHook& on_size = {});

}  // namespace glow

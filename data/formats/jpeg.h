// JPEG decoder (libjpeg).
#pragma once

#include <span>
#include <string>

#include "data/formats/png.h"

namespace glow {

inline constexpr index_t kJpegPixelLimit = kPngPixelLimit;

// Gray pictures have C = 1; all others become RGB. CMYK is converted without a color profile, inks inverted
// as Adobe stores them. EXIF orientation is ignored. Throws InputError if the data is not a JPEG, truncated,
// damaged, above the pixel limit or has more than 200 scans. `shown` names the file in messages.
Image decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& shown);

}  // namespace glow

// JPEG files through libjpeg.
#pragma once

#include <span>
#include <string>

#include "train/data/png.h"

namespace glow {

inline constexpr index_t kJpegPixelLimit = kPngPixelLimit;

// Grey pictures have C = 1, all others become RGB (CMYK without a colour profile). EXIF is not looked at: a
// picture that a camera stored on its side stays so. InputError: no JPEG, truncated, damaged, above the
// limit, more than 200 scans. Errors speak of `shown`.
Image decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& shown);

}  // namespace glow

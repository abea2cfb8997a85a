// TIFF decoder (libtiff). Without libtiff, no_tiff.cpp takes the place of tiff.cpp.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "data/formats/png.h"

namespace glow {

// Whether this program was built with libtiff.
bool reads_tiff();

// The first page, upright: the orientation tag is applied. C: 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and
// alpha; pictures with premultiplied alpha are composited over black. 16 bits become 8 as round(v / 257).
// Throws InputError, naming `shown`, for a file that is damaged, truncated, above kPngPixelLimit or of a kind
// that libtiff cannot convert (floats), and in a build without libtiff. lost: set to a description of what
// the result leaves out; unchanged if nothing.
Image decode_tiff(std::span<const std::uint8_t> bytes, const std::string& shown, std::string* lost = nullptr,
                  const SizeHook& on_size = {});

}  // namespace glow

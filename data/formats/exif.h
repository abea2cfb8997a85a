// Metadata of photographs, in TIFF structures: the orientation, because cameras do not rotate the pixels, and
// the index of further pictures in a JPEG file.
#pragma once

#include <cstdint>
#include <span>

#include "data/formats/png.h"

namespace glow {

// Tag 0x0112 (Orientation, 1..8) of the first directory of a TIFF structure, which may begin with "Exif\0\0",
// even twice. 1, upright, if the tag is missing or the bytes are damaged.
int exif_orientation(std::span<const std::uint8_t> bytes);

// Whether an APP2 marker of a JPEG file is the index ("MPF\0") of several pictures (CIPA DC-007). False if
// the bytes are damaged.
bool has_further_pictures(std::span<const std::uint8_t> bytes);

// Turns a picture that is stored with `orientation` 1..8 (TIFF 6.0, page 36) upright. Orientations 5 to 8
// exchange height and width.
Image upright(Image image, int orientation);

}  // namespace glow

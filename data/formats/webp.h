// WebP decoder and encoder (libwebp). Without libwebp, no_webp.cpp takes the place of webp.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "data/formats/png.h"

namespace glow {

// Whether this program was built with libwebp.
bool reads_webp();

// Pictures without alpha have C = 3, others C = 4. The picture is upright: EXIF orientation is applied.
// Throws InputError, naming `shown`, for a file that is damaged, truncated or an animation, and in a build
// without libwebp.
Image decode_webp(std::span<const std::uint8_t> bytes, const std::string& shown,
                  const SizeHook& on_size = {});

// Size of the picture as a lossless WebP file. None without libwebp, with alpha, or if a side is above WebP's
// limit of 16383.
std::optional<std::size_t> webp_bytes(const Image& image);

}  // namespace glow

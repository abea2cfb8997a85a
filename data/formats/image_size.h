// Height and width of images.
#pragma once

#include <string>

#include "kernels/base.h"

namespace glow {

struct ImageSize {
    index_t H = 0, W = 0;
    bool operator==(const ImageSize&) const = default;
};

// Parses "64x96" (height x width), or "64" for a square; each 1 .. 2^16. Otherwise throws InputError, naming
// the option.
ImageSize parse_image_size(const std::string& option, const std::string& text);

}  // namespace glow

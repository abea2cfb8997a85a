// Numbers in messages.
#pragma once

#include <fmt/format.h>

#include <string>

#include "inference/statistics.h"

namespace glow {

// "1 image", "2 images", "2 test images" for ("test image").
inline std::string counted(index_t count, const std::string& noun) {
    return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

// "4.5510 +- 0.0266"; one value has no standard error.
inline std::string mean_text(const Mean& mean) {
    return fmt::format("{:.4f}", mean.value) + (mean.error() ? fmt::format(" +- {:.4f}", *mean.error()) : "");
}

}  // namespace glow

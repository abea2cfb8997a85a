#include <fmt/format.h>

#include "data/formats/webp.h"
#include "kernels/error.h"

namespace glow {

bool reads_webp() {
    return false;
}

Image decode_webp(std::span<const std::uint8_t>, const std::string& shown, const SizeHook&) {
    throw InputError(fmt::format(
        "{}: is a WebP file, which this build cannot read; install libwebp-dev and configure with -DGLOW_WEBP=ON",
        shown));
}

std::optional<std::size_t> webp_bytes(const Image&) {
    return {};
}

}  // namespace glow

#include <fmt/format.h>

#include "data/formats/gif.h"
#include "kernels/error.h"

namespace glow {

bool reads_gif() {
    return false;
}

Image decode_gif(std::span<const std::uint8_t>, const std::string& shown, std::string*, const SizeHook&) {
    throw InputError(fmt::format(
        "{}: is a GIF file, which this build cannot read; install libgif-dev and configure with -DGLOW_GIF=ON",
        shown));
}

}  // namespace glow

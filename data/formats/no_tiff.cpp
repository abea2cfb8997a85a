#include <fmt/format.h>

#include "data/formats/tiff.h"
#include "kernels/error.h"

namespace glow {

bool reads_tiff() {
    return false;
}

Image decode_tiff(std::span<const std::uint8_t>, const std::string& shown, std::string*, const SizeHook&) {
    throw InputError(fmt::format(
        "{}: is a TIFF file, which this build cannot read; install libtiff-dev and configure with -DGLOW_TIFF=ON",
        shown));
}

}  // namespace glow

// PNG, JPEG, WebP, TIFF and GIF files, cropping and area averaging.
#include "data/formats/photo.h"

#include <algorithm>
#include <vector>

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    using namespace glow;
    return fuzz::attempt([&] {
        const Image image = decode_photo({bytes, size}, "input", size % 2 == 0 ? 1 : 3);
        const index_t S = std::min<index_t>({16, image.H, image.W});
        std::vector<std::uint8_t> small(static_cast<std::size_t>(S * S * image.C));
        crop_and_shrink(image, {S, S}, small.data());
    });
}

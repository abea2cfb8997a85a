#include "data/formats/webp.h"

#include <fmt/format.h>
#include <webp/decode.h>
#include <webp/encode.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "data/formats/exif.h"
#include "kernels/error.h"

namespace glow {
namespace {

constexpr std::size_t kRiffHeader = 12, kChunkHeader = 8;

// Orientation in the EXIF chunk; 1 (upright) if there is none. Chunks have a name, a length and an even
// number of bytes.
int orientation_of_webp(std::span<const std::uint8_t> bytes) {
    std::size_t at = kRiffHeader;
    while (bytes.size() >= at + kChunkHeader) {
        std::uint32_t length = 0;
        for (std::size_t i = 0; i < 4; ++i) length |= std::uint32_t{bytes[at + 4 + i]} << (8 * i);
        const auto content = bytes.subspan(at + kChunkHeader);
        if (length > content.size()) return 1;
        if (std::memcmp(bytes.data() + at, "EXIF", 4) == 0) return exif_orientation(content.first(length));
        at += kChunkHeader + length + length % 2;
    }
    return 1;
}

}  // namespace

bool reads_webp() {
    return true;
}

Image decode_webp(std::span<const std::uint8_t> bytes, const std::string& shown, const SizeHook& on_size) {
    const auto fail = [&](const char* why) {
        throw InputError(fmt::format("cannot read {} as a WebP file: {}", shown, why));
    };
    WebPBitstreamFeatures features;
    if (WebPGetFeatures(bytes.data(), bytes.size(), &features) != VP8_STATUS_OK)
        fail("its header is damaged or truncated");
    if (features.has_animation != 0) fail("it is an animation");
    if (on_size) on_size(features.height, features.width);
    const bool alpha = features.has_alpha != 0;
    Image image{features.height, features.width, alpha ? 4 : 3, {}};
    image.pixels.resize(static_cast<std::size_t>(image.H * image.W * image.C));
    WebPDecoderConfig decoder;
    if (WebPInitDecoderConfig(&decoder) == 0) throw Error("libwebp has another version than its headers");
    decoder.output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
    decoder.output.is_external_memory = 1;
    decoder.output.u.RGBA = {image.pixels.data(), static_cast<int>(image.W * image.C), image.pixels.size()};
    const VP8StatusCode status = WebPDecode(bytes.data(), bytes.size(), &decoder);
    // A file is not damaged because of too little memory. But some versions of libwebp also report that for
    // damaged files, so see whether there is what the picture takes.
    if (status == VP8_STATUS_OUT_OF_MEMORY)
        ::operator delete(::operator new(static_cast<std::size_t>(4 * image.H * image.W)));  // bad_alloc
    if (status != VP8_STATUS_OK) fail("it is damaged or truncated");
    return upright(std::move(image), orientation_of_webp(bytes));
}

std::optional<std::size_t> webp_bytes(const Image& image) {
    if (image.C % 2 == 0 || image.H > WEBP_MAX_DIMENSION || image.W > WEBP_MAX_DIMENSION) return {};
    const Image rgb = with_channels(image, 3);
    std::uint8_t* file = nullptr;
    const std::size_t bytes =
        WebPEncodeLosslessRGB(rgb.pixels.data(), static_cast<int>(rgb.W), static_cast<int>(rgb.H),
                              static_cast<int>(3 * rgb.W), &file);
    WebPFree(file);
    if (bytes == 0) throw Error("cannot encode a WebP file: out of memory");
    return bytes;
}

}  // namespace glow

#include "data/formats/exif.h"

#include <algorithm>
#include <string_view>

namespace glow {
namespace {

constexpr std::uint32_t kOrientation = 0x0112, kNumberOfImages = 0xb001, kShort = 3, kLong = 4, kMagic = 42,
                        kEntryBytes = 12;

// Numbers of 2 or 4 bytes in the order that the structure declares; 0 outside it.
struct TiffBytes {
    std::span<const std::uint8_t> bytes;
    bool big_endian;

    std::uint32_t number(std::size_t at, int count) const {
        if (at > bytes.size() || bytes.size() - at < static_cast<std::size_t>(count)) return 0;
        std::uint32_t value = 0;
        for (int i = 0; i < count; ++i)
            value = value << 8 | bytes[at + static_cast<std::size_t>(big_endian ? i : count - 1 - i)];
        return value;
    }
};

bool begins_with(std::span<const std::uint8_t> bytes, std::string_view text) {
    return bytes.size() >= text.size() && std::equal(text.begin(), text.end(), bytes.begin());
}

// The integer of the first directory's first entry with this tag, of type SHORT or LONG; 1 if there is none.
std::uint32_t first_entry(std::span<const std::uint8_t> bytes, std::uint32_t tag) {
    const bool big_endian = begins_with(bytes, "MM");
    if (!big_endian && !begins_with(bytes, "II")) return 1;
    const TiffBytes tiff{bytes, big_endian};
    if (tiff.number(2, 2) != kMagic) return 1;
    const std::size_t directory = tiff.number(4, 4);
    const std::uint32_t entries = tiff.number(directory, 2);
    for (std::uint32_t i = 0; i < entries; ++i) {
        const std::size_t entry = directory + 2 + std::size_t{i} * kEntryBytes;
        if (entry >= bytes.size()) break;
        const std::uint32_t type = tiff.number(entry + 2, 2);
        if (tiff.number(entry, 2) == tag && (type == kShort || type == kLong))
            return tiff.number(entry + 8, type == kShort ? 2 : 4);
    }
    return 1;
}

}  // namespace

int exif_orientation(std::span<const std::uint8_t> bytes) {
    while (begins_with(bytes, {"Exif\0\0", 6})) bytes = bytes.subspan(6);
    const std::uint32_t value = first_entry(bytes, kOrientation);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
}

bool has_further_pictures(std::span<const std::uint8_t> bytes) {
    constexpr std::string_view kName("MPF\0", 4);
    return begins_with(bytes, kName) && first_entry(bytes.subspan(kName.size()), kNumberOfImages) > 1;
}

Image upright(Image image, int orientation) {
    if (orientation <= 1 || orientation > 8) return image;
    const bool transposed = orientation >= 5;
    // The first row of the result is the last stored row (or column, if transposed), and likewise for
    // columns.
    const bool from_last_row = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
    const bool from_last_column =
        orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
    Image result{transposed ? image.W : image.H, transposed ? image.H : image.W, image.C, {}};
    result.pixels.resize(image.pixels.size());
    std::uint8_t* to = result.pixels.data();
    for (index_t y = 0; y < result.H; ++y)
        for (index_t x = 0; x < result.W; ++x, to += image.C) {
            const index_t row = from_last_row ? result.H - 1 - y : y,
                          column = from_last_column ? result.W - 1 - x : x;
            const index_t at = transposed ? column * image.W + row : row * image.W + column;
            std::copy_n(image.pixels.data() + at * image.C, image.C, to);
        }
    return result;
}

}  // namespace glow

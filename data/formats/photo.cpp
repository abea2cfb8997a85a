#include "data/formats/photo.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <initializer_list>

#include "data/formats/gif.h"
#include "data/formats/jpeg.h"
#include "data/formats/tiff.h"
#include "data/formats/webp.h"
#include "kernels/error.h"

namespace glow {
namespace {

// Splits 0 .. n into S equal parts and calls add(i, part, weight) for every pixel i that overlaps a part.
// Weights are overlap lengths in units of 1 / S pixel.
template <class Add>
void for_each_overlap(index_t n, index_t S, const Add& add) {
    for (index_t part = 0; part < S; ++part) {
        const index_t low = part * n, high = low + n;
        for (index_t i = low / S; i * S < high; ++i)
            add(i, part, std::min(high, (i + 1) * S) - std::max(low, i * S));
    }
}

bool begins(std::span<const std::uint8_t> bytes, std::initializer_list<std::uint8_t> magic) {
    return bytes.size() >= magic.size() && std::equal(magic.begin(), magic.end(), bytes.begin());
}
bool is_png(std::span<const std::uint8_t> bytes) {
    return begins(bytes, {0x89, 'P', 'N', 'G'});
}

bool is_tiff(std::span<const std::uint8_t> bytes) {
    constexpr std::uint8_t kClassic = 42, kBig = 43;
    for (const std::uint8_t version : {kClassic, kBig})
        if (begins(bytes, {'I', 'I', version, 0}) || begins(bytes, {'M', 'M', 0, version})) return true;
    return false;
}

// With the file's own channels. lost: as in decode_jpeg, decode_tiff and decode_gif.
Image decode_any(std::span<const std::uint8_t> bytes, const std::string& shown, std::string* lost = nullptr,
                 const SizeHook& on_size = {}) {
    if (begins(bytes, {0xff, 0xd8, 0xff})) return decode_jpeg(bytes, shown, lost, on_size);
    if (is_png(bytes)) return decode_png(bytes, shown, 0, on_size);
    const auto riff = [&](std::size_t at) { return bytes.size() >= 12 ? bytes.subspan(at) : bytes.last(0); };
    if (begins(riff(0), {'R', 'I', 'F', 'F'}) && begins(riff(8), {'W', 'E', 'B', 'P'}))
        return decode_webp(bytes, shown, on_size);
    if (is_tiff(bytes)) return decode_tiff(bytes, shown, lost, on_size);
    if (begins(bytes, {'G', 'I', 'F', '8'})) return decode_gif(bytes, shown, lost, on_size);
    throw InputError(fmt::format("{}: is not a PNG, JPEG, WebP, TIFF or GIF file", shown));
}

// Whether the chunks before the pixels announce an animation (acTL), of which only one picture is read.
bool is_animated_png(std::span<const std::uint8_t> bytes) {
    constexpr std::size_t kSignature = 8, kAround = 12;  // bytes of a chunk besides its content
    std::size_t at = kSignature;
    while (at <= bytes.size() && bytes.size() - at >= kAround) {
        std::size_t length = 0;
        for (std::size_t i = 0; i < 4; ++i) length = length << 8 | bytes[at + i];
        const auto type = bytes.subspan(at + 4, 4);
        if (begins(type, {'a', 'c', 'T', 'L'})) return true;
        if (begins(type, {'I', 'D', 'A', 'T'})) return false;
        at += kAround + length;
    }
    return false;
}

// Describes what C channels of 8 bits would lose; empty if nothing.
std::string loss_with(std::span<const std::uint8_t> bytes, const Image& image, index_t C) {
    constexpr std::size_t kPngBitDepth = 24;  // position of IHDR's bit depth
    if (is_png(bytes) && bytes.size() > kPngBitDepth && bytes[kPngBitDepth] == 16)
        return "it has 16 bits a channel";
    if (is_png(bytes) && is_animated_png(bytes)) return "it is an animation";
    const bool color = image.C >= 3, alpha = image.C % 2 == 0;
    for (auto pixel = image.pixels.begin(); pixel != image.pixels.end(); pixel += image.C) {
        if (alpha && pixel[image.C - 1] != 255) return "it has transparent pixels";
        if (C == 1 && color && (pixel[0] != pixel[1] || pixel[0] != pixel[2]))
            return "it has colors, but the model is for gray images";
    }
    return "";
}

// Of the formats that this build reads.
std::vector<std::string> suffixes() {
    std::vector<std::string> all = {".png", ".jpg", ".jpeg", ".jpe", ".jfif"};
    if (reads_webp()) all.emplace_back(".webp");
    if (reads_tiff()) all.insert(all.end(), {".tif", ".tiff"});
    if (reads_gif()) all.emplace_back(".gif");
    return all;
}

}  // namespace

std::string photo_suffixes() {
    const std::vector<std::string> all = suffixes();
    std::string text = all.front();
    for (std::size_t i = 1; i < all.size(); ++i) text += (i + 1 < all.size() ? ", " : " or ") + all[i];
    return text;
}

bool is_photo_name(const std::filesystem::path& path) {
    std::string suffix = path.extension().string();
    for (char& character : suffix)
        character = static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
    const std::vector<std::string> all = suffixes();
    return std::find(all.begin(), all.end(), suffix) != all.end();
}

Image decode_photo(std::span<const std::uint8_t> bytes, const std::string& shown, index_t C,
                   const SizeHook& on_size) {
    if (C != 1 && C != 3) throw Error(fmt::format("read_photo: expected 1 or 3 channels, found {}", C));
    return with_channels(decode_any(bytes, shown, nullptr, on_size), C);
}

ExactPhoto read_photo_exactly(const std::filesystem::path& path, index_t C) {
    const std::vector<std::uint8_t> bytes = read_image_bytes(path);
    std::string loss_of_decoding;
    Image image = decode_any(bytes, path.string(), &loss_of_decoding);
    const std::string loss = loss_of_decoding.empty() ? loss_with(bytes, image, C) : loss_of_decoding;
    if (!loss.empty())
        throw InputError(fmt::format("{}: cannot be coded without loss: {}", path.string(), loss));
    const bool gray = image.C < 3 || C == 1;
    return {with_channels(std::move(image), C), gray};
}

Image read_photo(const std::filesystem::path& path, index_t C, const SizeHook& on_size) {
    return decode_photo(read_image_bytes(path), path.string(), C, on_size);
}

Crop centered_crop(const ImageSize& photo, const ImageSize& target) {
    // Proportions as products: no rounding decides which side is cut.
    ImageSize size = photo;
    if (photo.H * target.W > photo.W * target.H)
        size.H = (photo.W * target.H + target.W / 2) / target.W;
    else
        size.W = (photo.H * target.W + target.H / 2) / target.H;
    return {(photo.W - size.W) / 2, (photo.H - size.H) / 2, size};
}

void crop_and_shrink(const Image& image, const ImageSize& size, std::uint8_t* result) {
    shrink(image, centered_crop({image.H, image.W}, size), size, result);
}

void shrink(const Image& image, const Crop& part, const ImageSize& size, std::uint8_t* result) {
    const index_t C = image.C;
    const ImageSize& from = part.size;
    if (size.H < 1 || size.W < 1 || from.H < size.H || from.W < size.W || part.x < 0 || part.y < 0 ||
        part.x + from.W > image.W || part.y + from.H > image.H)
        throw Error(fmt::format("shrink: {} x {} pixels at ({}, {}) of {} x {} cannot become {} x {}", from.W,
                                from.H, part.x, part.y, image.W, image.H, size.W, size.H));
    // Along rows, then along columns; a row's sums are below 2^8 W, the whole ones below 2^8 W H.
    const index_t row_values = size.W * C;
    std::vector<std::uint64_t> sums(static_cast<std::size_t>(size.H * row_values)),
        row(static_cast<std::size_t>(row_values));
    for_each_overlap(from.H, size.H, [&](index_t y, index_t part_y, index_t weight_y) {
        const std::uint8_t* pixels = image.pixels.data() + ((part.y + y) * image.W + part.x) * C;
        std::fill(row.begin(), row.end(), 0);
        for_each_overlap(from.W, size.W, [&](index_t x, index_t part_x, index_t weight_x) {
            for (index_t c = 0; c < C; ++c)
                row[static_cast<std::size_t>(part_x * C + c)] +=
                    static_cast<std::uint64_t>(weight_x) * pixels[x * C + c];
        });
        std::uint64_t* to = sums.data() + part_y * row_values;
        for (index_t i = 0; i < row_values; ++i)
            to[i] += static_cast<std::uint64_t>(weight_y) * row[static_cast<std::size_t>(i)];
    });
    const auto total = static_cast<std::uint64_t>(from.H) * static_cast<std::uint64_t>(from.W);
    for (index_t i = 0; i < size.H * row_values; ++i)
        result[i] = static_cast<std::uint8_t>((sums[static_cast<std::size_t>(i)] + total / 2) / total);
}

}  // namespace glow

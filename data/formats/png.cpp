// Reads through libpng's classic interface and writes through its simplified one.
//
// The simplified interface also reads, but since the fix of CVE-2025-65018 (pnggroup/libpng#853) it decodes
// 16-bit interlaced images wrongly; it also applies gAMA and composites alpha in linear light.
#include "data/formats/png.h"

#include <fmt/format.h>
#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <system_error>

#include "data/formats/atomic_file.h"
#include "data/formats/exif.h"
#include "data/formats/input_path.h"
#include "data/formats/output_name.h"
#include "kernels/error.h"

namespace glow {
namespace {

constexpr index_t kDeflateRatio = 1032;  // deflate's maximum: 258 bytes in two bits
constexpr png_alloc_size_t kChunkBytesLimit = 64 << 20;
constexpr png_uint_32 kChunksLimit = 1000;

// A file in memory. libpng reports errors by longjmp, so no object with a destructor may live between setjmp
// and a library call.
struct PngReader {
    const std::uint8_t* next;
    std::size_t left;
    png_structp png;
    png_infop info = nullptr;
    char message[256] = "out of memory";

    explicit PngReader(std::span<const std::uint8_t> bytes)
        : next(bytes.data()),
          left(bytes.size()),
          png(png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning)) {
        if (png != nullptr) info = png_create_info_struct(png);
    }
    ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
    PngReader(const PngReader&) = delete;
    PngReader& operator=(const PngReader&) = delete;

    [[noreturn]] static void on_error(png_structp png, png_const_charp text) {
        auto* const self = static_cast<PngReader*>(png_get_error_ptr(png));
        std::snprintf(self->message, sizeof self->message, "%s", text);
        png_longjmp(png, 1);
    }
    // Warnings concern ignored chunks, except tRNS: without it pixels would be wrong.
    static void on_warning(png_structp png, png_const_charp text) {
        if (std::strncmp(text, "tRNS: ", 6) == 0 && std::strstr(text, "with alpha channel") == nullptr)
            on_error(png, text);
    }
    static void on_read(png_structp png, png_bytep to, std::size_t count) {
        auto* const self = static_cast<PngReader*>(png_get_io_ptr(png));
        if (count > self->left) png_error(png, "the file is truncated");
        std::memcpy(to, self->next, count);
        self->next += count;
        self->left -= count;
    }
};

// Reads all chunks before the pixels.
bool read_header(PngReader& reader) {
    if (reader.png == nullptr || reader.info == nullptr) return false;
    if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
    png_set_read_fn(reader.png, &reader, PngReader::on_read);
    png_set_benign_errors(reader.png, 1);
    // decode_png checks the size itself for a better message.
    png_set_user_limits(reader.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_chunk_cache_max(reader.png, kChunksLimit);
    png_set_chunk_malloc_max(reader.png, kChunkBytesLimit);
#ifdef PNG_SET_UNKNOWN_CHUNKS_SUPPORTED
    // Skips all chunks, including compressed ones, that do not change the encoded pixels.
    png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
#endif
    png_read_info(reader.png, reader.info);
    return true;
}

// pixels [H, W, C], 8 bits per channel.
bool read_pixels(PngReader& reader, std::uint8_t* pixels, std::size_t row_bytes) {
    if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
    png_set_expand(reader.png);    // palettes, fewer than 8 bits, tRNS
    png_set_scale_16(reader.png);  // round(v / 257); after tRNS, whose color has 16 bits
    const int passes = png_set_interlace_handling(reader.png);
    png_read_update_info(reader.png, reader.info);
    if (png_get_rowbytes(reader.png, reader.info) != row_bytes) png_error(reader.png, "unexpected row size");
    const png_uint_32 H = png_get_image_height(reader.png, reader.info);
    for (int pass = 0; pass < passes; ++pass)
        for (png_uint_32 y = 0; y < H; ++y) png_read_row(reader.png, pixels + y * row_bytes, nullptr);
    return true;
}

// Orientation in the first undamaged eXIf chunk, which may be before or after the pixels; 1 (upright) without
// one. libpng drops a chunk that begins with "Exif\0\0", which the standard does not allow but programs
// write. Damage after the pixels is not an error: they are complete.
int orientation_of_png(std::span<const std::uint8_t> bytes) {
    constexpr std::size_t kSignature = 8, kAround = 12;  // bytes of a chunk besides its content
    const auto number = [](std::span<const std::uint8_t> four) {
        return std::size_t{four[0]} << 24 | std::size_t{four[1]} << 16 | std::size_t{four[2]} << 8 | four[3];
    };
    for (std::size_t at = kSignature; at <= bytes.size() && bytes.size() - at >= kAround;) {
        const std::size_t length = number(bytes.subspan(at, 4));
        if (length > bytes.size() - at - kAround) return 1;
        const auto checked = bytes.subspan(at + 4, 4 + length);  // the name and the content
        if (std::memcmp(checked.data(), "eXIf", 4) == 0 &&
            crc32(0, checked.data(), static_cast<uInt>(checked.size())) ==
                number(bytes.subspan(at + 8 + length, 4)))
            return exif_orientation(checked.subspan(4));
        at += kAround + length;
    }
    return 1;
}

unsigned over_black(unsigned value, unsigned alpha) {
    return (value * alpha + 127) / 255;
}

// libpng's writer, freed on every path.
struct PngImage : png_image {
    explicit PngImage(const Image& image) : png_image{} {
        constexpr png_uint_32 kFormats[] = {0, PNG_FORMAT_GRAY, PNG_FORMAT_GA, PNG_FORMAT_RGB,
                                            PNG_FORMAT_RGBA};
        version = PNG_IMAGE_VERSION;
        width = static_cast<png_uint_32>(image.W);
        height = static_cast<png_uint_32>(image.H);
        format = kFormats[image.C];
    }
    ~PngImage() { png_image_free(this); }
    PngImage(const PngImage&) = delete;
    PngImage& operator=(const PngImage&) = delete;
};

}  // namespace

std::vector<std::uint8_t> read_image_bytes(const std::filesystem::path& path) {
    std::error_code code;
    const std::filesystem::file_status status = std::filesystem::status(path, code);
    const auto fail = [&](int error) {
        const std::string message =
            fmt::format("cannot read {}: {}", path.string(), std::generic_category().message(error));
        if (!is_missing_or_forbidden(error)) throw Error(message);  // must not be left out as a bad file
        throw InputError(message);
    };
    if (!std::filesystem::exists(status)) {
        if (!is_missing_or_forbidden(code.value())) fail(code.value());
        throw InputError(fmt::format("cannot read {}: {}", path.string(), file_problem(path)));
    }
    if (!std::filesystem::is_regular_file(status))
        throw InputError(fmt::format("cannot read {}: expected an image file, found a folder, device or pipe",
                                     path.string()));
    const auto size = static_cast<index_t>(std::filesystem::file_size(path, code));
    if (code) fail(code.value());
    if (size > kImageBytesLimit)
        throw InputError(
            fmt::format("{}: expected at most {} bytes, found {}", path.string(), kImageBytesLimit, size));
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(size));
    std::ifstream file(path, std::ios::binary);
    if (!file) fail(errno);
    file.read(reinterpret_cast<char*>(bytes.data()), size);
    if (file.bad()) fail(errno != 0 ? errno : EIO);
    if (!file) throw InputError(fmt::format("{}: expected {} bytes, found fewer", path.string(), size));
    return bytes;
}

Image decode_png(std::span<const std::uint8_t> bytes, const std::string& shown, index_t C,
                 const SizeHook& on_size) {
    if (C < 0 || C > 4) throw Error(fmt::format("read_png: expected 0..4 channels, found {}", C));
    PngReader reader(bytes);
    const auto fail = [&] {
        throw InputError(fmt::format("cannot read {} as a PNG file: {}", shown, reader.message));
    };
    if (!read_header(reader)) fail();
    const auto W = static_cast<index_t>(png_get_image_width(reader.png, reader.info)),
               H = static_cast<index_t>(png_get_image_height(reader.png, reader.info));
    if (W > kPngSideLimit || H > kPngSideLimit || W * H > kPngPixelLimit)
        throw InputError(fmt::format("{}: expected at most {} pixels and sides of at most {}, found {} x {}",
                                     shown, kPngPixelLimit, kPngSideLimit, W, H));
    const index_t stored_bits =
        png_get_bit_depth(reader.png, reader.info) * png_get_channels(reader.png, reader.info);
    if (W * H * stored_bits / 8 / kDeflateRatio > static_cast<index_t>(bytes.size()))
        throw InputError(
            fmt::format("cannot read {} as a PNG file: {} x {} pixels do not fit in its {} bytes", shown, W,
                        H, bytes.size()));
    if (on_size) on_size(H, W);
    const int color = png_get_color_type(reader.png, reader.info);
    const bool alpha =
        (color & PNG_COLOR_MASK_ALPHA) != 0 || png_get_valid(reader.png, reader.info, PNG_INFO_tRNS) != 0;
    Image image{H, W, ((color & PNG_COLOR_MASK_COLOR) != 0 ? 3 : 1) + alpha, {}};
    image.pixels.resize(static_cast<std::size_t>(H * W * image.C));
    if (!read_pixels(reader, image.pixels.data(), static_cast<std::size_t>(W * image.C))) fail();
    image = upright(std::move(image), orientation_of_png(bytes));
    return C == 0 ? std::move(image) : with_channels(std::move(image), C);
}

Image read_png(const std::filesystem::path& path, index_t C) {
    return decode_png(read_image_bytes(path), path.string(), C);
}

Image with_channels(Image image, index_t C) {
    if (C < 1 || C > 4) throw Error(fmt::format("with_channels: expected 1..4 channels, found {}", C));
    if (image.C == C) return image;
    const index_t pixels = image.H * image.W;
    const bool from_color = image.C >= 3, to_color = C >= 3, from_alpha = image.C % 2 == 0,
               to_alpha = C % 2 == 0;
    std::vector<std::uint8_t> larger(static_cast<std::size_t>(C > image.C ? pixels * C : 0));
    const std::uint8_t* from = image.pixels.data();
    std::uint8_t* to = C > image.C ? larger.data() : image.pixels.data();  // dropping channels works in place
    for (index_t p = 0; p < pixels; ++p, from += image.C, to += C) {
        const unsigned alpha = from_alpha ? from[image.C - 1] : 255;
        unsigned rgb[3];
        for (int c = 0; c < 3; ++c) {
            rgb[c] = from[from_color ? c : 0];
            if (!to_alpha) rgb[c] = over_black(rgb[c], alpha);
        }
        if (to_color)
            std::copy(rgb, rgb + 3, to);
        else
            to[0] = static_cast<std::uint8_t>((299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2] + 500) / 1000);
        if (to_alpha) to[C - 1] = static_cast<std::uint8_t>(alpha);
    }
    if (C > image.C) image.pixels = std::move(larger);
    image.pixels.resize(static_cast<std::size_t>(pixels * C));
    image.C = C;
    return image;
}

std::size_t png_bytes(const Image& image) {
    PngImage png(image);
    png_alloc_size_t bytes = 0;
    if (png_image_write_to_memory(&png, nullptr, &bytes, 0, image.pixels.data(), 0, nullptr) == 0)
        throw Error(fmt::format("cannot write a PNG file: {}", png.message));
    return bytes;
}

void write_png(const std::filesystem::path& path, const Image& image) {
    require_png_name(path);
    if (image.C < 1 || image.C > 4 || image.H < 1 || image.W < 1 || image.H * image.W > kPngPixelLimit ||
        static_cast<index_t>(image.pixels.size()) != image.H * image.W * image.C)
        throw Error(fmt::format(
            "cannot write {}: expected a picture of 1..4 channels and at most {} pixels, found [{}, {}, {}]",
            path.string(), kPngPixelLimit, image.H, image.W, image.C));
    write_atomically(path, [&](const std::filesystem::path& temporary) {
        PngImage png(image);
        errno = 0;
        if (png_image_write_to_file(&png, temporary.c_str(), 0, image.pixels.data(), 0, nullptr) == 0)
            throw Error(fmt::format("cannot write {}: {}", path.string(),
                                    errno != 0 ? std::strerror(errno) : png.message));
    });
}

}  // namespace glow

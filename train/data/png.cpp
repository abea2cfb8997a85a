// libpng's simplified interface: no setjmp, errors as text.
#include "train/data/png.h"

#include <fmt/format.h>
#include <png.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "kernels/error.h"
#include "train/data/atomic_file.h"

namespace glow {
namespace {

constexpr png_uint_32 kFormats[] = {0, PNG_FORMAT_GRAY, PNG_FORMAT_GA, PNG_FORMAT_RGB, PNG_FORMAT_RGBA};

// libpng's struct, freed on every way out.
struct PngImage : png_image {
    PngImage() : png_image{} { version = PNG_IMAGE_VERSION; }
    ~PngImage() { png_image_free(this); }
    PngImage(const PngImage&) = delete;
    PngImage& operator=(const PngImage&) = delete;
};

struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

[[noreturn]] void fail(const PngImage& png, const std::string& shown) {
    throw InputError(fmt::format("cannot read {} as a PNG file: {}", shown, png.message));
}

// The picture behind a header that was read.
Image finish(PngImage& png, const std::string& shown, index_t C) {
    if (C < 0 || C > 4) throw Error(fmt::format("read_png: expected 0..4 channels, found {}", C));
    const index_t pixels = static_cast<index_t>(png.width) * static_cast<index_t>(png.height);
    if (pixels > kPngPixelLimit)
        throw InputError(fmt::format("{}: expected at most {} pixels, found {} x {}", shown, kPngPixelLimit,
                                     png.width, png.height));
    if (C == 0)
        C = 1 + ((png.format & PNG_FORMAT_FLAG_COLOR) != 0 ? 2 : 0) +
            ((png.format & PNG_FORMAT_FLAG_ALPHA) != 0);
    png.format = kFormats[C];
    png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;  // else libpng takes 16 bits without a gamma for linear light
    Image image{png.height, png.width, C, std::vector<std::uint8_t>(static_cast<std::size_t>(pixels * C))};
    const png_color black{0, 0, 0};
    if (png_image_finish_read(&png, &black, image.pixels.data(), 0, nullptr) == 0) fail(png, shown);
    return image;
}

}  // namespace

Image decode_png(std::span<const std::uint8_t> bytes, const std::string& shown, index_t C) {
    PngImage png;
    if (png_image_begin_read_from_memory(&png, bytes.data(), bytes.size()) == 0) fail(png, shown);
    return finish(png, shown, C);
}

Image read_png(const std::filesystem::path& path, index_t C) {
    std::error_code code;
    if (std::filesystem::exists(path, code) && !std::filesystem::is_regular_file(path, code))
        throw InputError(fmt::format("cannot read {}: expected a PNG file, found a folder, device or pipe",
                                     path.string()));
    const File file(std::fopen(path.c_str(), "rb"));
    if (file == nullptr)
        throw InputError(fmt::format("cannot read {}: {}", path.string(), std::strerror(errno)));
    PngImage png;
    if (png_image_begin_read_from_stdio(&png, file.get()) == 0) fail(png, path.string());
    return finish(png, path.string(), C);
}

std::size_t png_bytes(const Image& image) {
    PngImage png;
    png.width = static_cast<png_uint_32>(image.W);
    png.height = static_cast<png_uint_32>(image.H);
    png.format = kFormats[image.C];
    png_alloc_size_t bytes = 0;
    if (png_image_write_to_memory(&png, nullptr, &bytes, 0, image.pixels.data(), 0, nullptr) == 0)
        throw Error(fmt::format("cannot write a PNG file: {}", png.message));
    return bytes;
}

void write_png(const std::filesystem::path& path, const Image& image) {
    if (image.C < 1 || image.C > 4 || image.H < 1 || image.W < 1 || image.H * image.W > kPngPixelLimit ||
        static_cast<index_t>(image.pixels.size()) != image.H * image.W * image.C)
        throw Error(fmt::format(
            "cannot write {}: expected a picture of 1..4 channels and at most {} pixels, found [{}, "
            "{}, {}]",
            path.string(), kPngPixelLimit, image.H, image.W, image.C));
    write_atomically(path, [&](const std::filesystem::path& temporary) {
        PngImage png;
        png.width = static_cast<png_uint_32>(image.W);
        png.height = static_cast<png_uint_32>(image.H);
        png.format = kFormats[image.C];
        if (png_image_write_to_file(&png, temporary.c_str(), 0, image.pixels.data(), 0, nullptr) == 0)
            throw Error(fmt::format("cannot write {}: {}", path.string(), png.message));
    });
}

}  // namespace glow

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

}  // namespace

Image read_png(const std::filesystem::path& path, index_t C) {
    if (C < 0 || C > 4) throw Error(fmt::format("read_png: expected 0..4 channels, found {}", C));
    std::error_code code;
    if (std::filesystem::exists(path, code) && !std::filesystem::is_regular_file(path, code))
        throw InputError(fmt::format("cannot read {}: expected a PNG file, found a folder, device or pipe",
                                     path.string()));
    const File file(std::fopen(path.c_str(), "rb"));
    if (file == nullptr)
        throw InputError(fmt::format("cannot read {}: {}", path.string(), std::strerror(errno)));
    PngImage png;
    const auto fail = [&] {
        throw InputError(fmt::format("cannot read {} as a PNG file: {}", path.string(), png.message));
    };
    if (png_image_begin_read_from_stdio(&png, file.get()) == 0) fail();
    const index_t pixels = static_cast<index_t>(png.width) * static_cast<index_t>(png.height);
    if (pixels > kPngPixelLimit)
        throw InputError(fmt::format("{}: expected at most {} pixels, found {} x {}", path.string(),
                                     kPngPixelLimit, png.width, png.height));
    if (C == 0)
        C = 1 + ((png.format & PNG_FORMAT_FLAG_COLOR) != 0 ? 2 : 0) +
            ((png.format & PNG_FORMAT_FLAG_ALPHA) != 0);
    png.format = kFormats[C];
    Image image{png.height, png.width, C, std::vector<std::uint8_t>(static_cast<std::size_t>(pixels * C))};
    const png_color black{0, 0, 0};
    if (png_image_finish_read(&png, &black, image.pixels.data(), 0, nullptr) == 0) fail();
    return image;
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

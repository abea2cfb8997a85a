#include "data/formats/output_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "kernels/error.h"

namespace glow {
namespace {

std::string suffix_of(const std::filesystem::path& path) {
    std::string suffix = path.extension().string();
    for (char& letter : suffix)
        if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    return suffix;
}

constexpr const char* kPictureSuffixes[] = {".png",  ".jpg", ".jpeg", ".gif",  ".bmp", ".webp", ".tif",
                                            ".tiff", ".ppm", ".pgm",  ".avif", ".svg", ".pdf",  ".eps"};

}  // namespace

void require_png_name(const std::filesystem::path& path) {
    if (!is_png_name(path))
        throw InputError(
            fmt::format("{}: pictures are written as PNG; the name must end in .png", path.string()));
}

void require_png_or_hdf5_name(const std::filesystem::path& path) {
    if (!is_png_name(path) && !is_hdf5_name(path))
        throw InputError(fmt::format("{}: the name must end in .png (a picture) or .h5 (an array of images)",
                                     path.string()));
}

void refuse_picture_name(const std::filesystem::path& path, const char* format) {
    const std::string suffix = suffix_of(path);
    if (std::find(std::begin(kPictureSuffixes), std::end(kPictureSuffixes), suffix) !=
        std::end(kPictureSuffixes))
        throw InputError(fmt::format("{}: this output is {}, but the name ends in {}, which means a picture",
                                     path.string(), format, suffix));
}

bool is_png_name(const std::filesystem::path& path) {
    return suffix_of(path) == ".png";
}

bool is_hdf5_name(const std::filesystem::path& path) {
    const std::string suffix = suffix_of(path);
    return suffix == ".h5" || suffix == ".hdf5";
}

}  // namespace glow

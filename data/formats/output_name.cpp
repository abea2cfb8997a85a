#include "data/formats/output_name.h"

#include <fmt/format.h>

#include "kernels/error.h"

namespace glow {
namespace {

std::string suffix_of(const std::filesystem::path& path) {
    std::string suffix = path.extension().string();
    for (char& letter : suffix)
        if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    return suffix;
}

struct Suffix {
    const char *text, *format;
};
constexpr Suffix kSuffixes[] = {
    {".png", "a picture"},          {".jpg", "a picture"},       {".jpeg", "a picture"},
    {".jpe", "a picture"},          {".jfif", "a picture"},      {".gif", "a picture"},
    {".bmp", "a picture"},          {".webp", "a picture"},      {".tif", "a picture"},
    {".tiff", "a picture"},         {".ppm", "a picture"},       {".pgm", "a picture"},
    {".avif", "a picture"},         {".svg", "a picture"},       {".pdf", "a picture"},
    {".eps", "a picture"},          {".h5", "an HDF5 file"},     {".hdf5", "an HDF5 file"},
    {".npy", "a NumPy file"},       {".npz", "a NumPy file"},    {".csv", "a CSV file"},
    {".glow", "a compressed file"}, {".toml", "a configuration"}};

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

void require_npy_name(const std::filesystem::path& path) {
    if (suffix_of(path) != ".npy")
        throw InputError(
            fmt::format("{}: this output is a NumPy array; the name must end in .npy", path.string()));
}

void refuse_other_name(const std::filesystem::path& path, const std::string& format) {
    const std::string suffix = suffix_of(path);
    for (const Suffix& known : kSuffixes)
        if (suffix == known.text && !format.starts_with(known.format))
            throw InputError(fmt::format("{}: this output is {}, but the name ends in {}, which means {}",
                                         path.string(), format, suffix, known.format));
}

bool is_png_name(const std::filesystem::path& path) {
    return suffix_of(path) == ".png";
}

bool is_hdf5_name(const std::filesystem::path& path) {
    const std::string suffix = suffix_of(path);
    return suffix == ".h5" || suffix == ".hdf5";
}

}  // namespace glow

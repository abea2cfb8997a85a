// What the suffix of an output's name says about its format. Suffixes count in any case.
#pragma once

#include <filesystem>

namespace glow {

// Pictures are written as PNG files only. InputError unless the name ends in .png.
void require_png_name(const std::filesystem::path& path);

// For commands that write a picture or HDF5. InputError unless the name ends in .png, .h5 or .hdf5.
void require_png_or_hdf5_name(const std::filesystem::path& path);

// For files of other formats. InputError where the name ends as that of a picture (.png, .jpg, .pdf, ...).
// `format`, for the message: "an HDF5 file".
void refuse_picture_name(const std::filesystem::path& path, const char* format);

// .h5 or .hdf5
bool is_hdf5_name(const std::filesystem::path& path);

}  // namespace glow

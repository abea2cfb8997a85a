// Checks that an output's suffix matches its format. Suffixes are case-insensitive.
#pragma once

#include <filesystem>
#include <string>

namespace glow {

// Throws InputError unless the name ends in .png, the only picture format written.
void require_png_name(const std::filesystem::path& path);

// For commands that write a picture or HDF5: throws InputError unless the name ends in .png, .h5 or .hdf5.
void require_png_or_hdf5_name(const std::filesystem::path& path);

// Throws InputError unless the name ends in .npy.
void require_npy_name(const std::filesystem::path& path);

// For other formats: throws InputError if the name ends in the suffix of another one (.png, .h5, .csv, ...).
// `format` begins with its name: "an HDF5 file", "a CSV file", "a compressed file", "a folder".
void refuse_other_name(const std::filesystem::path& path, const std::string& format);

bool is_png_name(const std::filesystem::path& path);
// .h5 or .hdf5
bool is_hdf5_name(const std::filesystem::path& path);

}  // namespace glow

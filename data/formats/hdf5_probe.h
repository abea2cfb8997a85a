// Checks an HDF5 file in another process, the program glow_hdf5_probe: HDF5 itself crashes, loops or exhausts
// memory on some damaged files (1.10.8: on one in 400 with random bytes in their directory).
#pragma once

#include <filesystem>
#include <string>

namespace glow::hdf5 {

// Exit status of glow_hdf5_probe if reading a file's structure took too much memory.
inline constexpr int kTooMuchMemory = 3;

// The program: next to this program or library, or in the libexec/glow of its installation or build. Empty if
// there is none; files are then opened unchecked.
std::filesystem::path probe_program();

// From now on no file is opened unchecked: if the program is missing or cannot be started, opening throws
// Error.
void require_probe();

// How HDF5 fails on a file: "crashes on it", "does not end on it", ... Empty if it does not, or if the
// program cannot run.
std::string probe(const std::filesystem::path& program, const std::filesystem::path& file);

}  // namespace glow::hdf5

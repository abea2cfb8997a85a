// Output of generated images: a folder of PNG files, or /images of an HDF5 file.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "data/formats/atomic_file.h"
#include "data/formats/hdf5_file.h"
#include "layers/config.h"

namespace glow {

// Writes 000000.png, 000001.png, ... to a folder, created if needed. Throws InputError if it cannot be
// written.
class PngFolder {
  public:
    PngFolder(const std::filesystem::path& folder, const ModelConfig& model);
    // pixels [count, H, W, C].
    void append(const std::uint8_t* pixels, index_t count);

  private:
    std::filesystem::path folder_;
    ModelConfig model_;
    index_t done_ = 0;
};

// Writes to an HDF5 file, atomically, if the name is NAME.h5; otherwise to a folder.
class ImageSink {
  public:
    ImageSink(const std::string& output, const ModelConfig& model);
    // pixels [count, H, W, C].
    void append(const std::uint8_t* pixels, index_t count);
    void commit();

  private:
    std::optional<PngFolder> folder_;
    std::optional<AtomicFile> atomic_;
    std::optional<Hdf5File> file_;
};

}  // namespace glow

// Models in safetensors files, as glow_convert --to safetensors writes them: 8 bytes of length; a JSON header
// with each tensor's type, shape and offset, and with "config" as in a checkpoint; the tensors.
#pragma once

#include <filesystem>

namespace glow {

// Writes the model as a checkpoint without training state. Throws InputError for a damaged file, and for
// tensors that are not those of its configuration.
void checkpoint_from_safetensors(const std::filesystem::path& safetensors,
                                 const std::filesystem::path& checkpoint);

// A temporary folder, removed with its contents by the destructor. The path is empty until the folder is
// made.
class ScratchFolder {
  public:
    ScratchFolder() = default;
    ~ScratchFolder();
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;

    void make();
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

// The checkpoint of a run folder, a checkpoint file, or a safetensors file.
class ModelFile {
  public:
    explicit ModelFile(const std::filesystem::path& name);

    // Valid during the life of this object.
    const std::filesystem::path& checkpoint() const { return checkpoint_; }

  private:
    ScratchFolder folder_;
    std::filesystem::path checkpoint_;
};

}  // namespace glow

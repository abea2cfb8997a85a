// What a command reads and writes, checked before it starts: no output replaces an input or a file of a run,
// and no other process writes the same file.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tools/command_line.h"
#include "data/formats/file_lock.h"

namespace glow {

// A path and the option that gave it, for messages: {"--data", "d.h5"}.
struct NamedPath {
    std::string name;
    std::filesystem::path path;
};

// Holds a command's outputs until it is destroyed, after they are written.
class OutputFiles {
  public:
    // InputError where an output cannot be written, is one of the inputs or outputs (also through symbolic
    // or hard links), belongs to the folder of a run, or is being written by another process. Inputs with an
    // empty path are skipped; a run's folder stands for its latest checkpoint. A warning where the file
    // system has no locks.
    OutputFiles(const CommandLine& command, const std::vector<NamedPath>& inputs,
                const std::vector<NamedPath>& outputs);
    // An output folder of images 000000.png, ... that need not exist.
    void add_folder(const NamedPath& folder);

  private:
    void lock(const NamedPath& output, const std::filesystem::path& target);

    const CommandLine& command_;
    std::vector<NamedPath> inputs_;
    std::vector<std::unique_ptr<FileLock>> locks_;
    bool warned_ = false;
};

// The part about inputs alone: InputError where one of the outputs that exist is one of the inputs.
void refuse_overwriting(const std::vector<NamedPath>& inputs, const std::vector<NamedPath>& outputs);

// The files of a folder and of the folders in it whose names `wanted` accepts, as inputs.
template <class Wanted>
std::vector<NamedPath> files_of(const std::filesystem::path& folder, Wanted wanted) {
    namespace fs = std::filesystem;
    std::vector<NamedPath> files;
    std::error_code ignored;
    fs::recursive_directory_iterator entry(folder, fs::directory_options::follow_directory_symlink, ignored);
    for (; entry != fs::recursive_directory_iterator(); entry.increment(ignored)) {
        if (entry.depth() >= 1) entry.disable_recursion_pending();
        if (wanted(entry->path()) && entry->is_regular_file(ignored)) files.push_back({"the input", *entry});
    }
    return files;
}

}  // namespace glow

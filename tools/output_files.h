// Checks a command's inputs and outputs before it starts: outputs must not replace inputs or files of a run,
// or be written by another process at the same time.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/formats/file_lock.h"
#include "tools/command_line.h"

namespace glow {

// A path and its option, for messages: {"--data", "d.h5"}.
struct NamedPath {
    std::string name;
    std::filesystem::path path;
};

// Which existing outputs a command refuses to replace: data sets, weights and compressed files, which it does not
// make itself, or those of refuse_existing() and others of its own.
enum class Replacing { no_data, by_own_rule };

// Holds a command's outputs from the check until they are written.
class OutputFiles {
  public:
    // Removes what ended processes left in the folders of the outputs (atomic_file.h).
    // Throws InputError if an output cannot be written, is one of the inputs or outputs (also through
    // symbolic or hard links), belongs to a run folder, is a picture in a folder of photographs that is an
    // input, or is being written by another process. Inputs with an empty path are skipped; a run folder
    // means its latest checkpoint, another folder the photographs in it. Warns if the file system does not
    // support locks.
    OutputFiles(const CommandLine& command, const std::vector<NamedPath>& inputs,
                const std::vector<NamedPath>& outputs, Replacing replacing = Replacing::no_data);
    // An output folder for images 000000.png, ...; it need not exist. Throws InputError as above, if it is
    // inside an input folder, and if another output has the name of one of its images.
    void add_folder(const NamedPath& folder);

  private:
    void lock(const NamedPath& output, const std::filesystem::path& target);

    const CommandLine& command_;
    std::vector<NamedPath> inputs_, outputs_;
    std::vector<std::unique_ptr<FileLock>> locks_;
    bool warned_ = false;
};

// Locks an output until the result is destroyed. Throws InputError if it cannot be written, or another process
// writes it.
std::unique_ptr<FileLock> lock_output(const NamedPath& output);

// Throws InputError if the output, also through a link, is a file of a run.
void refuse_file_of_run(const NamedPath& output);

// Throws InputError if the folder has numbered images of an earlier result other than the first `count`,
// which would be mixed with the new ones.
void refuse_other_pictures(const NamedPath& folder, index_t count);

// Throws InputError if the file exists, unless `force`. For outputs that may not be replaced by accident: a
// data set takes time to make and runs depend on it, a compressed file may be the only copy of photographs, and
// a picture's name may be that of a photograph. option: what sets `force`, for the message.
void refuse_existing(const std::filesystem::path& output, bool force, const char* option = "--force");

// Only the check of inputs: throws InputError if an existing output is one of the inputs.
void refuse_overwriting(const std::vector<NamedPath>& inputs, const std::vector<NamedPath>& outputs);

// The files in a folder and its subfolders whose names `wanted` accepts, as inputs.
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

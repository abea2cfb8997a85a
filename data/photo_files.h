// Lists the photographs in a folder and its subfolders.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "kernels/base.h"

namespace glow {

struct PhotoFiles {
    std::vector<std::string> names;    // paths relative to the folder, sorted
    std::vector<std::string> skipped;  // "PATH: reason": unreadable files and folders, repeated links
    // Left out: further names (symbolic and hard links) of files in `names`.
    struct Repeat {
        std::string name, same_as;
    };
    std::vector<Repeat> repeats;
    // Links to folders among `skipped` whose target holds photographs of another top folder than the link's.
    // same_as: one of them.
    std::vector<Repeat> folder_repeats;
    // Those of `skipped` that may be photographs or folders of photographs. name: path relative to the folder.
    struct Unreadable {
        std::string name, problem;
    };
    std::vector<Unreadable> unreadable;
    std::map<std::string, index_t> other_files;  // numbers of files without an image suffix, by suffix
};

// Lists files with the suffix of a photograph (is_photo_name), each once: under its own name rather than that
// of a symbolic link, and under the first path of several hard links. Hidden entries are ignored. Links to
// folders are followed unless the folder is read anyway. Skips image names that are dangling links, pipes or
// similar, folders that cannot be listed, and folders of runs. Throws InputError if `folder` is not a folder,
// or that of a run.
PhotoFiles list_photos(const std::filesystem::path& folder);

// Throws InputError if a folder is that of a run of glow_train, whose only pictures are samples.
void refuse_run_folder(const std::filesystem::path& folder);

// "DIR: 20 further names of files in it (links) are left out, such as best/1.png of all/1.png"
std::string describe_repeats(const std::filesystem::path& folder,
                             const std::vector<PhotoFiles::Repeat>& repeats);

// "DIR: found no .png, ... file in it or in its subfolders, only 3 .bmp"
std::string no_photos(const std::filesystem::path& folder, const std::map<std::string, index_t>& other_files);

// "3 .webp, 1 .txt"
std::string describe_suffixes(const std::map<std::string, index_t>& numbers);

}  // namespace glow

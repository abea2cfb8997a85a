// Finds input files and explains in words what is wrong with a path. Never opens pipes or devices, so nothing
// blocks.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace glow {

// Why a path cannot be read as a regular file: "dangling symbolic link to /annex/1", "a named pipe, not a
// file", "Permission denied". Empty if it can be read. Follows links.
std::string file_problem(const std::filesystem::path& path);
// The same for a folder that will be listed.
std::string folder_problem(const std::filesystem::path& path);

// Whether a file that cannot be opened with this errno is missing or forbidden. Other errors say nothing about
// the file: the disk or network may answer again later.
bool is_missing_or_forbidden(int error);
// Call after a failed read of a stream: the system's error, or empty if the file ended.
std::string read_problem(const std::istream& stream);

// Whether the name exists, perhaps as a dangling link. True if that cannot be determined: a file that must not
// be lost is then read, which fails, instead of written anew.
bool is_present(const std::filesystem::path& path);

// The bytes of a regular file. Throws InputError "PATH: cannot be read: WHY".
std::string read_file(const std::filesystem::path& path);

// Device and inode: equal for all names of a file, whether links or not. None if there is no file.
using FileId = std::pair<dev_t, ino_t>;
std::optional<FileId> file_id(const std::filesystem::path& path);

// Throws InputError if two of these are the same file, also through links: its images would be used twice.
void refuse_same_file(const std::vector<std::filesystem::path>& paths);

// Joins problems into one line: the first few, then how many more there are.
std::string join_problems(const std::vector<std::string>& problems);

// The first of `names` that is a readable file in the folder, or a file inside a folder of that name
// ("train.bin/train.bin", as some archives unpack). Empty if no name exists. Throws InputError, with the
// reason, if names exist but none is a readable file.
std::filesystem::path find_input_file(const std::filesystem::path& folder,
                                      const std::vector<std::string>& names);

}  // namespace glow

// What is wrong with a path that is to be read, in words, and files found under one of several names. Nothing
// here waits: pipes and devices are never opened.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace glow {

// Why a path cannot be read as a regular file: "dangling symbolic link to /annex/1", "a named pipe, not a
// file", "Permission denied". Empty if it can. Links are followed.
std::string file_problem(const std::filesystem::path& path);
// The same for a folder that is to be listed.
std::string folder_problem(const std::filesystem::path& path);

// Some problems in one line: the first of them, and how many more there are.
std::string join_problems(const std::vector<std::string>& problems);

// The first of `names` that is a readable file of the folder; else one in a folder of such a name, as some
// archives unpack ("train.bin/train.bin"). Empty where no name exists. InputError where a name exists and
// none is a readable file: says what it is.
std::filesystem::path find_input_file(const std::filesystem::path& folder,
                                      const std::vector<std::string>& names);

}  // namespace glow

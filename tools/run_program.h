// Runs other programs directly, without a shell. Uses posix_spawn, not fork: the process may have threads and
// use a GPU.
#pragma once

#include <string>
#include <vector>

namespace glow {

inline constexpr int kProgramNotFound = -1;

// Runs a program with arguments, from PATH unless its name has a slash, and waits. Returns its exit code, 128 +
// signal, or kProgramNotFound. Its standard output goes to stderr, or to `output`.
int run_program(const std::vector<std::string>& argv, std::string* output = nullptr);

}  // namespace glow

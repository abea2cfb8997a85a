// The control groups that a process is in, versions 1 and 2.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace glow {

// Calls visit() for the folder of every control group of the process with a controller ("cpu", "memory"):
// from the mounted root down to the process's own, all of which limit it. root: where /proc and /sys are.
void visit_cgroups(const std::filesystem::path& root, const std::string& controller,
                   const std::function<void(const std::filesystem::path& folder)>& visit);

}  // namespace glow

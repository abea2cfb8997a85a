// Downloads data sets from their official sites with curl or wget.
#pragma once

#include <filesystem>

namespace glow {

// Puts CIFAR-10's six official binary files (170 MB download) into `folder`, verified by the archive's MD5;
// does nothing if all six exist. Throws Error without network, curl, wget or tar, or if the archive is not
// the official one; then nothing is left behind. `quiet` hides curl's progress bar.
void download_cifar10(const std::filesystem::path& folder, bool quiet);

}  // namespace glow

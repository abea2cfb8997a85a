// Data sets from their own sites, fetched by curl or wget.
#pragma once

#include <filesystem>

namespace glow {

// Makes `folder` hold CIFAR-10's six official binary files (170 MB over the network), verified by the
// archive's MD5; does nothing where all six are there already. Error without network, curl, wget or tar, or
// where the archive is not the official one; nothing is left behind then. `quiet` keeps curl's progress bar
// off.
void download_cifar10(const std::filesystem::path& folder, bool quiet);

}  // namespace glow

// Names that the user may have meant.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

namespace glow {

// Edit distance: insertions, deletions, replacements and swaps of neighboring characters.
std::size_t edit_distance(const std::string& a, const std::string& b);

// An existing run folder whose path differs from this one by a few characters.
std::optional<std::filesystem::path> similar_run(const std::filesystem::path& missing);

}  // namespace glow

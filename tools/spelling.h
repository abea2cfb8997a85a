// Names that the user may have meant.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace glow {

// Edit distance: insertions, deletions, replacements and swaps of neighboring characters.
std::size_t edit_distance(const std::string& a, const std::string& b);

// The name that `text` may have meant; empty if all are other words. Case does not matter, nor - against _.
std::string nearest_name(std::string text, const std::vector<std::string>& names);

// An existing run folder whose path differs from this one by a few characters.
std::optional<std::filesystem::path> similar_run(const std::filesystem::path& missing);
// The same for a folder that may well be new: only small differences, and not of numbers alone (seed1,
// seed2).
std::optional<std::filesystem::path> mistaken_run(const std::filesystem::path& missing);

}  // namespace glow

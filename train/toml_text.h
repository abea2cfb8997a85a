// Text in a TOML file.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace glow {

// How many bytes at the beginning are whole UTF-8 characters: all, if the text is UTF-8.
std::size_t valid_utf8(std::string_view text);

// A TOML string, quotes included: '...' where possible, "..." with escapes where the text has quotes or
// control characters. InputError for a text that is not UTF-8, which no TOML file can hold.
std::string toml_string(const std::string& text);

}  // namespace glow

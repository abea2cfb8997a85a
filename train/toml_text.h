// Text in a TOML file.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace glow {

// The length in bytes of the leading complete UTF-8 characters: all, if the text is UTF-8.
std::size_t valid_utf8(std::string_view text);

// Formats a TOML string with quotes: '...' if possible, "..." with escapes if the text has quotes or control
// characters. Throws InputError for text that is not UTF-8, which TOML cannot store.
std::string toml_string(const std::string& text);

}  // namespace glow

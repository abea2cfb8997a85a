// Interface to a TOML library, implemented by toml_plusplus.cpp (toml++) and toml11.cpp (toml11), because no
// distribution released before 2023 has toml++.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/toml_document.h"

namespace glow {

// The top level of a document, in any order. `text` has only line feeds and ends with one. Throws TomlError;
// its line may be a later one than the first of the wrong statement.
std::vector<TomlEntry> read_toml(const std::string& text);

// A number's own characters, without underscores and plus sign, because the libraries report only its value,
// which is 0 or infinite if it is out of range. `rest` begins with the number.
std::string number_text(std::string_view rest);

// From line `line` on; empty if there is none.
std::string_view from_line(std::string_view text, std::size_t line);

}  // namespace glow

// The top level of a TOML document, KEY = VALUE, the same with every TOML library.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace glow {

enum class TomlKind { string, integer, number, flag, array, table, date };

struct TomlEntry {
    std::size_t line;  // the first one
    std::string key;
    TomlKind kind;
    // The characters of a string; true or false; an integer in decimal; a number as in the document, without
    // underscores and plus sign. Empty for arrays, tables and dates: no option takes them.
    std::string text;
};

struct TomlError : std::runtime_error {
    TomlError(std::size_t line, const std::string& problem) : std::runtime_error(problem), line(line) {}
    std::size_t line;
};

// The top level of UTF-8 text in the order of its lines. Throws TomlError, with the first line of the wrong
// statement.
std::vector<TomlEntry> parse_toml(std::string_view text);

}  // namespace glow

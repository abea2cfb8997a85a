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
    // The characters of a string; an integer in decimal; a number as in the document, without underscores and
    // plus sign. Empty for arrays, tables and dates, whose content is not checked: no option takes them.
    std::string text;
};

struct TomlError : std::runtime_error {
    TomlError(std::size_t line, const std::string& problem) : std::runtime_error(problem), line(line) {}
    std::size_t line;
};

// The entries of UTF-8 text in their order. Ends with the first table, whether by a header or by a key with
// dots: what follows is not read. Throws TomlError.
std::vector<TomlEntry> parse_toml(std::string_view text);

}  // namespace glow

// What Glow needs of a TOML library, so that it works with each of two: toml_plusplus.cpp uses toml++,
// toml11.cpp toml11. No distribution release before 2023 has toml++.
#pragma once

#include <optional>
#include <string>

namespace glow {

struct TomlString {
    std::string key;
    bool dotted;       // the key has more parts, which name values inside a table
    std::string text;  // empty if dotted
};

// Reads one line KEY = STRING (several lines for a string in triple quotes), without comment. Returns nothing
// if it is not TOML.
std::optional<TomlString> read_toml_string(const std::string& statement);

}  // namespace glow

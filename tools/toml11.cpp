// toml_library.h with toml11 (header-only), versions 3.7 to 4.4.
#include <exception>
#include <sstream>
#include <toml.hpp>

#include "tools/toml_library.h"

namespace glow {

std::optional<TomlString> read_toml_string(const std::string& statement) {
    try {
        std::istringstream stream(statement);
        const toml::value document = toml::parse(stream, "");
        const auto& table = document.as_table();
        if (table.size() != 1) return {};
        const auto& [key, value] = *table.begin();
        TomlString result{key, value.is_table(), ""};
        if (value.is_string()) result.text = toml::get<std::string>(value);
        return result;
    } catch (const std::exception&) {  // syntax errors, and std::out_of_range for some
        return {};
    }
}

}  // namespace glow

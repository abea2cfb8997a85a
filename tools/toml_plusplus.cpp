// toml_library.h with toml++ (header-only), versions 2.5 to 3.4.
#define TOML_ENABLE_FORMATTERS 0
#define TOML_LARGE_FILES 1
#include <toml++/toml.h>

#include <string_view>

#include "tools/toml_library.h"

namespace glow {

std::optional<TomlString> read_toml_string(const std::string& statement) {
    try {
        const toml::table table = toml::parse(std::string_view(statement));
        if (table.size() != 1) return {};
        for (auto&& [key, value] : table) {
            TomlString result{std::string(std::string_view(key)), value.is_table(), ""};
            if (const auto* const text = value.as_string()) result.text = text->get();
            return result;
        }
    } catch (const toml::parse_error&) {
    }
    return {};
}

}  // namespace glow

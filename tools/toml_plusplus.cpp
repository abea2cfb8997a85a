// toml_library.h with toml++ (header-only), versions 2.5 to 3.4.
#define TOML_ENABLE_FORMATTERS 0
#define TOML_LARGE_FILES 1
// Its assertions fail for some wrong files ([.]), for which it also reports an error. With NDEBUG, they are
// promises to some compilers.
#undef NDEBUG
#define TOML_ASSERT(expression) static_assert(true)
#include <toml++/toml.h>

#include <algorithm>

#include "tools/toml_library.h"

namespace glow {
namespace {

// For a table created by dotted keys: the line of its first value.
std::size_t line_of(const toml::node& node) {
    if (node.source().begin.line > 0) return node.source().begin.line;
    std::size_t line = 0;
    if (const auto* const table = node.as_table())
        for (auto&& [key, child] : *table) {
            const std::size_t other = line_of(child);
            line = line == 0 ? other : std::min(line, other);
        }
    return line;
}

// toml++ counts characters, not bytes.
std::string_view from_node(std::string_view text, const toml::node& node) {
    std::string_view rest = from_line(text, node.source().begin.line);
    for (auto column = node.source().begin.column; column > 1 && !rest.empty(); --column) do
            rest.remove_prefix(1);
        while (!rest.empty() && (static_cast<unsigned char>(rest[0]) & 0xc0) == 0x80);
    return rest;
}

}  // namespace

std::vector<TomlEntry> read_toml(const std::string& text) {
    std::vector<TomlEntry> entries;
    try {
        for (auto&& [key, value] : toml::parse(std::string_view(text))) {
            TomlEntry entry{line_of(value), std::string(std::string_view(key)), TomlKind::date, ""};
            if (value.is_table()) {
                entry.kind = TomlKind::table;
            } else if (value.is_array()) {
                entry.kind = TomlKind::array;
            } else if (const auto* const string = value.as_string()) {
                entry.kind = TomlKind::string;
                entry.text = string->get();
            } else if (const auto* const flag = value.as_boolean()) {
                entry.kind = TomlKind::flag;
                entry.text = flag->get() ? "true" : "false";
            } else if (const auto* const integer = value.as_integer()) {
                entry.kind = TomlKind::integer;
                entry.text = std::to_string(integer->get());
            } else if (value.is_floating_point()) {
                entry.kind = TomlKind::number;
                entry.text = number_text(from_node(text, value));
            }
            entries.push_back(std::move(entry));
        }
    } catch (const toml::parse_error& error) {
        std::string_view what = error.description();
        if (what.starts_with("Error while parsing "))
            what.remove_prefix(std::min(what.find(": ") + 2, what.size()));
        throw TomlError(error.source().begin.line, std::string(what));
    }
    return entries;
}

}  // namespace glow

// toml_library.h with toml11 (header-only), versions 3.7 to 4.4.
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <exception>
#include <sstream>
#include <toml.hpp>

#include "tools/toml_library.h"

namespace glow {
namespace {

std::size_t line_of(const toml::value& value) {
#if TOML11_VERSION_MAJOR >= 4
    return value.location().first_line_number();
#else
    return value.location().line();
#endif
}

std::string_view from_value(std::string_view text, const toml::value& value) {
#if TOML11_VERSION_MAJOR >= 4
    const std::size_t column = value.location().first_column_number();
#else
    const std::size_t column = value.location().column();
#endif
    return from_line(text, line_of(value)).substr(column - 1);
}

TomlError error_of(const toml::syntax_error& error) {
    std::string what = error.what();  // several lines
    what.erase(std::min(what.find('\n'), what.size()));
    if (what.starts_with("[error] ")) what.erase(0, 8);
    if (what.starts_with("toml::")) what.erase(0, std::min(what.find(": ", 6) + 2, what.size()));
#if TOML11_VERSION_MAJOR >= 4
    std::size_t line = 0;  // the last of its places: earlier ones are the cause
    for (const auto& [place, _] : error.errors().at(0).locations())
        line = std::max(line, place.first_line_number());
    return {line == 0 ? SIZE_MAX : line, what};
#else
    return {error.location().line(), what};
#endif
}

// In decimal. toml11 3 does not report integers out of range.
std::string integer_text(std::string digits, std::size_t line) {
    const char prefix = digits.size() > 2 ? digits[1] : '\0';
    const int base = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 10;
    if (base != 10) digits.erase(0, 2);
    std::int64_t value = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), value, base).ec != std::errc())
        throw TomlError(line, "the integer is out of range");
    return std::to_string(value);
}

}  // namespace

std::vector<TomlEntry> read_toml(const std::string& text) {
    std::vector<TomlEntry> entries;
    try {
        std::istringstream stream(text);
        const toml::value document = toml::parse(stream, "");
        for (const auto& [key, value] : document.as_table()) {
            TomlEntry entry{line_of(value), key, TomlKind::date, ""};
            if (value.is_table()) {
                entry.kind = TomlKind::table;
            } else if (value.is_array()) {
                entry.kind = TomlKind::array;
            } else if (value.is_string()) {
                entry.kind = TomlKind::string;
                entry.text = toml::get<std::string>(value);
            } else if (value.is_boolean()) {
                entry.kind = TomlKind::flag;
                entry.text = value.as_boolean() ? "true" : "false";
            } else if (value.is_integer()) {
                entry.kind = TomlKind::integer;
                entry.text = integer_text(number_text(from_value(text, value)), entry.line);
            } else if (value.is_floating()) {
                entry.kind = TomlKind::number;
                entry.text = number_text(from_value(text, value));
            }
            entries.push_back(std::move(entry));
        }
    } catch (const toml::syntax_error& error) {
        throw error_of(error);
    } catch (const TomlError&) {
        throw;
    } catch (const std::exception&) {  // internal_error and std::out_of_range for some syntax errors
        throw TomlError(SIZE_MAX, "the syntax is wrong");
    }
    return entries;
}

}  // namespace glow

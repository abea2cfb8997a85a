// What the TOML libraries do not check, and the lines of errors, for which they differ.
#include "tools/toml_document.h"

#include <algorithm>

#include "tools/toml_library.h"

namespace glow {
namespace {

// The libraries parse and free nested values and dotted keys recursively, so deep nesting overflows the
// stack. Brackets and dots in strings and comments count too, so that the check needs no parsing.
constexpr int kMaxBrackets = 200;
constexpr int kMaxDots = 2000;
constexpr std::size_t kMaxParsedAgain = 1 << 20;  // bytes

void check_characters(std::string_view text) {
    std::size_t line = 1;
    int brackets = 0, dots = 0;
    for (const char c : text) {
        line += c == '\n';
        brackets += c == '[' || c == '{';
        dots += c == '.';
        if ((static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n') || c == 0x7f)
            throw TomlError(line, "it contains a control character");
        if (brackets > kMaxBrackets) throw TomlError(line, "it has too many brackets");
        if (dots > kMaxDots) throw TomlError(line, "it has too many dots");
    }
}

// The line on which the invalid statement begins, whatever line the library reports: the last one such that
// the text before it is valid.
std::size_t line_of_statement(const std::string& text, std::size_t reported) {
    const auto lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
    const std::size_t last = std::clamp<std::size_t>(reported, 1, lines);
    const std::size_t tries = kMaxParsedAgain / text.size();
    for (std::size_t line = last; line > 1; --line) {
        if (last - line >= tries) return last;
        try {
            read_toml(text.substr(0, text.size() - from_line(text, line).size()));
            return line;
        } catch (const TomlError&) {
        }
    }
    return 1;
}

}  // namespace

std::string_view from_line(std::string_view text, std::size_t line) {
    for (; line > 1 && !text.empty(); --line)
        text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
    return text;
}

std::string number_text(std::string_view rest) {
    if (rest.starts_with('+')) rest.remove_prefix(1);
    std::string text(rest.substr(0, rest.find_first_of(" \t\n#")));
    std::erase(text, '_');
    return text;
}

std::vector<TomlEntry> parse_toml(std::string_view all) {
    if (all.starts_with("\xef\xbb\xbf")) all.remove_prefix(3);
    std::string text;
    for (std::size_t i = 0; i < all.size(); ++i)
        if (all.substr(i, 2) != "\r\n") text += all[i];
    if (!text.ends_with('\n')) text += '\n';
    check_characters(text);
    std::vector<TomlEntry> entries;
    try {
        entries = read_toml(text);
    } catch (const TomlError& error) {
        throw TomlError(line_of_statement(text, error.line), error.what());
    }
    std::sort(entries.begin(), entries.end(),
              [](const TomlEntry& a, const TomlEntry& b) { return a.line < b.line; });
    return entries;
}

}  // namespace glow

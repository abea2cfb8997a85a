// Divides a document into statements and classifies their values. A TOML library reads keys and strings.
// Numbers are read here, because the libraries differ in what they do with numbers out of range and report no
// text for them. So are the limits on nesting, which the libraries lack.
#include "tools/toml_document.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>
#include <optional>

#include "tools/toml_library.h"

namespace glow {
namespace {

constexpr std::ptrdiff_t kMaxDots = 20;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

std::string_view without_blanks(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    return text.substr(0, text.find_last_not_of(" \t") + 1);
}

// ---- Statements ----------------------------------------------------------------------------------

struct Statement {
    std::size_t end = 0;                           // of its last line, without the line feed
    std::size_t equals = std::string_view::npos;   // the first = outside quotes
    std::size_t comment = std::string_view::npos;  // the # of the last line
    const char* unclosed = nullptr;
};

// Finds the end of the string whose opening quote is at `begin`: the position after it, or npos.
std::size_t end_of_string(std::string_view text, std::size_t begin) {
    const char quote = text[begin];
    const bool triple = text.substr(begin, 3) == std::string(3, quote);
    for (std::size_t at = begin + (triple ? 3 : 1); at < text.size(); ++at) {
        if (text[at] == '\\' && quote == '"') {
            ++at;
        } else if (!triple && text[at] == '\n') {
            return std::string_view::npos;
        } else if (!triple && text[at] == quote) {
            return at + 1;
        } else if (triple && text.substr(at, 3) == std::string(3, quote)) {
            at += 3;  // up to two more quotes belong to the string
            for (int more = 0; more < 2 && at < text.size() && text[at] == quote; ++more) ++at;
            return at;
        }
    }
    return std::string_view::npos;
}

// The statement that begins at `begin`, which is no blank.
Statement find_statement(std::string_view text, std::size_t begin) {
    Statement result;
    const bool header = text[begin] == '[';
    int open = 0;
    for (std::size_t at = begin; at < text.size(); ++at) {
        const char c = text[at];
        if (c == '\n' && open == 0) {
            result.end = at;
            return result;
        }
        if (c == '#') {
            if (open == 0) result.comment = at;
            at = std::min(text.find('\n', at), text.size()) - 1;
        } else if (c == '"' || c == '\'') {
            const std::size_t end = end_of_string(text, at);
            if (end == std::string_view::npos) {
                result.end = std::min(text.find('\n', at), text.size());
                result.unclosed = "a string has no closing quote";
                return result;
            }
            at = end - 1;
        } else if (c == '=' && result.equals == std::string_view::npos) {
            result.equals = at;
        } else if ((c == '[' || c == '{') && !header) {
            ++open;
        } else if ((c == ']' || c == '}') && open > 0) {
            --open;
        }
    }
    result.end = text.size();
    if (open > 0) result.unclosed = "a bracket is not closed";
    return result;
}

// ---- Values --------------------------------------------------------------------------------------

// Removes a sequence of `digits` with single underscores between them; false if there is none.
bool take_digits(std::string_view& text, std::string_view digits) {
    std::size_t at = 0;
    while (at < text.size() && (digits.find(text[at]) != std::string_view::npos ||
                                (text[at] == '_' && at > 0 && text[at - 1] != '_')))
        ++at;
    if (at == 0 || text[at - 1] == '_') return false;
    text.remove_prefix(at);
    return true;
}

// Integer or number by TOML's grammar, whatever its size.
std::optional<TomlKind> kind_of_number(std::string_view text) {
    constexpr std::string_view kDecimal = "0123456789";
    for (const auto& [prefix, digits] :
         {std::pair{"0x", "0123456789abcdefABCDEF"}, {"0o", "01234567"}, {"0b", "01"}})
        if (text.starts_with(prefix)) {
            text.remove_prefix(2);
            if (take_digits(text, digits) && text.empty()) return TomlKind::integer;
            return {};
        }
    if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
    if (text == "inf" || text == "nan") return TomlKind::number;
    if (text.size() > 1 && text[0] == '0' && (is_digit(text[1]) || text[1] == '_')) return {};
    if (!take_digits(text, kDecimal)) return {};
    if (text.empty()) return TomlKind::integer;
    if (text.starts_with('.')) {
        text.remove_prefix(1);
        if (!take_digits(text, kDecimal)) return {};
    }
    if (text.starts_with('e') || text.starts_with('E')) {
        text.remove_prefix(1);
        if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
        if (!take_digits(text, kDecimal)) return {};
    }
    if (!text.empty()) return {};
    return TomlKind::number;
}

bool is_date(std::string_view text) {
    const auto has_form = [text](std::string_view form) {  // 0: any digit
        return text.size() >= form.size() &&
               std::equal(form.begin(), form.end(), text.begin(), [](char expected, char c) {
                   return expected == '0' ? is_digit(c) : expected == c;
               });
    };
    return has_form("0000-00-00") || has_form("00:00:00");
}

// In decimal; nothing if it is out of range.
std::optional<std::string> integer_text(std::string text) {
    const int base = text.starts_with("0x")   ? 16
                     : text.starts_with("0o") ? 8
                     : text.starts_with("0b") ? 2
                                              : 10;
    if (base != 10) text.erase(0, 2);
    std::int64_t value = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), value, base).ec != std::errc()) return {};
    return std::to_string(value);
}

// A string in three double quotes without line-ending backslashes, after which toml++ also removes blanks
// other than ASCII. The quotes inside are escaped, because they might join.
std::string joined_lines(std::string_view value) {
    if (!value.starts_with("\"\"\"")) return std::string(value);
    const std::size_t end = end_of_string(value, 0);
    const std::string_view content = value.substr(3, end - 6);
    std::string result = "\"\"\"";
    for (std::size_t at = 0; at < content.size(); ++at) {
        if (content[at] != '\\') {
            if (content[at] == '"') result += '\\';
            result += content[at];
            continue;
        }
        const std::size_t next = std::min(content.find_first_not_of(" \t", at + 1), content.size());
        if (next < content.size() && content[next] == '\n') {
            at = std::min(content.find_first_not_of(" \t\n", next), content.size()) - 1;
        } else {
            result += content.substr(at, 2);
            ++at;
        }
    }
    return result.append("\"\"\"").append(value.substr(end));
}

TomlEntry parse_statement(std::string_view text, std::size_t line, const Statement& statement,
                          std::size_t begin) {
    const std::string_view content =
        without_blanks(text.substr(begin, std::min(statement.end, statement.comment) - begin));
    TomlEntry entry{line, "", TomlKind::table, ""};
    std::string_view key, value;
    if (content.starts_with('[')) {
        const std::size_t brackets = content.starts_with("[[") ? 2 : 1;
        if (!content.ends_with(brackets == 2 ? "]]" : "]") || content.size() < 2 * brackets)
            throw TomlError(line, "a bracket is not closed");
        if (brackets == 2) entry.kind = TomlKind::array;
        key = content.substr(brackets, content.size() - 2 * brackets);
    } else if (statement.equals == std::string_view::npos) {
        throw TomlError(line, "expected NAME = VALUE");
    } else {
        key = content.substr(0, statement.equals - begin);
        value = without_blanks(content.substr(statement.equals - begin + 1));
        if (value.empty()) throw TomlError(line, "the value is missing");
    }
    if (std::count(key.begin(), key.end(), '.') > kMaxDots) throw TomlError(line, "a name has too many dots");
    if (key.find("\"\"\"") != std::string_view::npos || key.find("'''") != std::string_view::npos)
        throw TomlError(line, "the name is wrong");
    const bool quoted = value.starts_with('"') || value.starts_with('\'');
    // The library sees the key with its own value only if that is a string.
    const std::optional<TomlString> read =
        read_toml_string(fmt::format("{} = {}\n", key, quoted ? joined_lines(value) : "''"));
    if (!read) throw TomlError(line, quoted ? "the name or the string is wrong" : "the name is wrong");
    entry.key = read->key;
    if (value.empty() || read->dotted) return entry;
    if (quoted) {
        entry.kind = TomlKind::string;
        entry.text = read->text;
    } else if (value == "true" || value == "false") {
        entry.kind = TomlKind::flag;
        entry.text = value;
    } else if (value.starts_with('[') || value.starts_with('{')) {
        entry.kind = value.starts_with('[') ? TomlKind::array : TomlKind::table;
    } else if (is_date(value)) {
        entry.kind = TomlKind::date;
    } else if (const std::optional<TomlKind> kind = kind_of_number(value)) {
        entry.kind = *kind;
        entry.text = value.substr(value.starts_with('+') ? 1 : 0);
        std::erase(entry.text, '_');
        if (*kind == TomlKind::integer) {
            const std::optional<std::string> decimal = integer_text(entry.text);
            if (!decimal) throw TomlError(line, "the integer is out of range");
            entry.text = *decimal;
        }
    } else {
        throw TomlError(line, "the value is not a string in quotes, a number, true or false");
    }
    return entry;
}

}  // namespace

std::vector<TomlEntry> parse_toml(std::string_view all) {
    if (all.starts_with("\xef\xbb\xbf")) all.remove_prefix(3);
    std::string text;
    for (std::size_t i = 0; i < all.size(); ++i)
        if (all.substr(i, 2) != "\r\n") text += all[i];
    const std::string_view view = text;
    std::vector<TomlEntry> entries;
    std::map<std::string, std::size_t> lines;
    std::size_t line = 1;
    for (std::size_t begin = 0; begin < view.size();) {
        begin = view.find_first_not_of(" \t", begin);
        if (begin == std::string_view::npos) break;
        const Statement statement = find_statement(view, begin);
        const std::string_view content = view.substr(begin, statement.end - begin);
        std::size_t last = line;
        for (const char c : content) {
            if (c == '\n') ++last;
            if ((static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n') || c == 0x7f)
                throw TomlError(last, "it contains a control character");
        }
        if (statement.unclosed != nullptr) throw TomlError(line, statement.unclosed);
        if (!content.empty() && content[0] != '#') {
            entries.push_back(parse_statement(view, line, statement, begin));
            const auto [earlier, added] = lines.emplace(entries.back().key, line);
            if (!added) throw TomlError(line, fmt::format("line {} has the same name", earlier->second));
            const TomlKind kind = entries.back().kind;
            if (kind == TomlKind::table || kind == TomlKind::array) break;
        }
        begin = statement.end + 1;
        line = last + 1;
    }
    return entries;
}

}  // namespace glow

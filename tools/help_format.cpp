#include "tools/help_format.h"

#include <fmt/format.h>

#include <cstdio>
#include <sstream>
#include <utility>

namespace glow {
namespace {

// Limits from here on only prevent overflow.
constexpr double kNoLimit = 1 << 20;

std::string names_of(const CLI::Option& option, bool is_positional) {
    if (is_positional) return option.get_name(true, false);
    std::string text;
    for (const std::string& name : option.get_snames()) text += (text.empty() ? "-" : ",-") + name;
    for (const std::string& name : option.get_lnames()) text += (text.empty() ? "--" : ",--") + name;
    return text;
}

// "INT:INT in [1 - 4096]" is "1 to 4096", "TEXT:{a,b}" is "a, b".
std::string range_of(const CLI::Option& option) {
    const std::string type = option.get_type_name();
    const std::size_t colon = type.find(':');
    if (colon == std::string::npos) return "";
    const std::string check = type.substr(colon + 1);
    const std::size_t in = check.find(" in [");
    double low = 0, high = 0;
    if (in != std::string::npos && std::sscanf(check.c_str() + in, " in [%lf - %lf]", &low, &high) == 2) {
        if (high < kNoLimit) return fmt::format("{:.7g} to {:.7g}", low, high);
        return low > 0 ? fmt::format("{:g} or more", low) : "";
    }
    if (check == "POSITIVE") return "above 0";
    if (!check.starts_with('{')) return "";
    std::string values;
    for (const char c : check.substr(1, check.find('}') - 1))
        values += c == ',' ? std::string(", ") : std::string(1, c);
    return values;
}

std::string joined(const std::set<CLI::Option*>& options) {
    std::string names;
    for (const CLI::Option* option : options)
        names += (names.empty() ? "" : ", ") + names_of(*option, option->get_positional());
    return names;
}

std::string description_of(const CLI::Option& option) {
    std::string more;
    const auto add = [&more](const std::string& text) { more += (more.empty() ? "" : "; ") + text; };
    const std::string range = range_of(option);
    if (!range.empty()) add(range);
    if (option.get_required()) add("required");
    if (!option.get_needs().empty()) add("with " + joined(option.get_needs()));
    if (!option.get_excludes().empty()) add("not with " + joined(option.get_excludes()));
    return option.get_description() + (more.empty() ? "" : " (" + more + ")");
}

// Whether the option may be omitted and then has a value. An empty list has the text "[]", and from CLI11 2.4
// on "{}".
bool has_default(const CLI::Option& option) {
    const std::string text = option.get_default_str();
    return !option.get_required() && !text.empty() && text != "[]" && text != "{}";
}

// The left column, then the text in lines of at most `width` characters.
std::string two_columns(const std::string& left, const std::string& text, std::size_t column,
                        std::size_t width) {
    std::string out = "  " + left;
    std::size_t at = out.size();  // length of the current line
    if (at + 1 > column) {
        out += '\n';
        at = 0;
    }
    const auto indent = [&] {
        out += std::string(column - at, ' ');
        at = column;
    };
    indent();
    std::istringstream lines(text);
    bool is_first_line = true;
    for (std::string line; std::getline(lines, line); is_first_line = false) {
        if (!is_first_line) {
            out += '\n';
            at = 0;
            indent();
        }
        std::istringstream words(line);
        bool is_first_word = true;
        for (std::string word; words >> word; is_first_word = false) {
            if (!is_first_word && at + 1 + word.size() > width) {
                out += '\n';
                at = 0;
                indent();
            } else if (!is_first_word) {
                out += ' ';
                ++at;
            }
            out += word;
            at += word.size();
        }
    }
    out.erase(out.find_last_not_of(' ') + 1);
    return out + '\n';
}

}  // namespace

std::string HelpFormat::make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const {
    return CLI::detail::find_and_replace(CLI::Formatter::make_help(app, std::move(name), mode), "\n\n\n",
                                         "\n\n");
}

std::string HelpFormat::make_option(const CLI::Option* option, bool is_positional) const {
    std::string left = names_of(*option, is_positional);
    if (option->get_type_size() != 0) {
        const std::string type = option->get_type_name();
        if (!is_positional) left += " " + type.substr(0, type.find(':'));
        if (option->get_expected_max() > 1) left += "...";
        if (has_default(*option)) left += " [" + option->get_default_str() + "]";
    }
    return two_columns(left, description_of(*option), kColumn, kWidth);
}

std::string HelpFormat::make_subcommand(const CLI::App* sub) const {
    return two_columns(sub->get_name(), sub->get_description(), kColumn, kWidth);
}

}  // namespace glow

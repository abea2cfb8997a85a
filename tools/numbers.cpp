#include "tools/numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>

namespace glow {
namespace {

const char* const kValidator = "decimal";  // name of the check within an option

// Removes plus sign and leading zeros, which CLI11 would read as octal.
std::string canonical_integer(const std::string& text) {
    const bool minus = text.starts_with('-');
    const std::size_t first = text.find_first_not_of("+-0");
    if (first == std::string::npos) return "0";
    return (minus ? "-" : "") + text.substr(first);
}

// CLI11 then checks that the value fits the option's type.
CLI::Validator decimal(ValueKind kind) {
    CLI::Validator validator(
        [kind](std::string& text) {
            const std::string problem = kind == ValueKind::number    ? number_problem<double>(text)
                                        : kind == ValueKind::integer ? number_problem<std::int64_t>(text)
                                                                     : number_problem<std::uint64_t>(text);
            if (problem.empty() && kind != ValueKind::number) text = canonical_integer(text);
            return problem;
        },
        "", kValidator);
    return validator;
}

std::optional<std::int64_t> parse_bytes(const std::string& text) {
    const std::size_t end = std::min(text.find_first_not_of("+0123456789"), text.size());
    std::int64_t bytes = 0;
    if (parse_decimal(text.substr(0, end), bytes) != std::errc()) return {};
    std::string unit = text.substr(std::min(text.find_first_not_of(' ', end), text.size()));
    for (char& c : unit) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (unit.empty()) return end == text.size() ? std::optional(bytes) : std::nullopt;
    if (unit == "b") return bytes;
    const std::size_t power = std::string("kmgtpe").find(unit.front());
    if (power == std::string::npos) return {};
    unit.erase(0, 1);
    if (!unit.empty() && unit != "b" && unit != "i" && unit != "ib") return {};
    const std::int64_t step = unit == "b" ? 1000 : 1024;
    for (std::size_t i = 0; i <= power; ++i) {
        if (bytes > std::numeric_limits<std::int64_t>::max() / step) return {};
        bytes *= step;
    }
    return bytes;
}

}  // namespace

ValueKind kind_of(const CLI::Option& option) {
    if (option.get_items_expected_max() == 0) return ValueKind::flag;
    static const std::map<std::string, ValueKind> kinds = {
        {"INT", ValueKind::integer},       {"UINT", ValueKind::unsigned_integer},
        {"N", ValueKind::integer},         {"FLOAT", ValueKind::number},
        {"FRACTION", ValueKind::number},   {"BYTES", ValueKind::bytes},
        {"INTERVAL", ValueKind::interval}, {"TEXT", ValueKind::text},
        {"RxC", ValueKind::text}};
    const std::string type = option.get_type_name();  // followed by a colon and the checks
    const auto found = kinds.find(type.substr(0, type.find(':')));
    if (found == kinds.end())
        throw std::logic_error(fmt::format("{}: unknown value type {}", option.get_name(), type));
    return found->second;
}

std::string description(ValueKind kind) {
    switch (kind) {
        case ValueKind::flag:
            return "true or false";
        case ValueKind::integer:
            return "one integer";
        case ValueKind::unsigned_integer:
            return "one integer, 0 or more";
        case ValueKind::number:
            return "one number";
        case ValueKind::bytes:
            return "a number of bytes such as 1024, 500MiB or 4GiB (4GB is 10^9)";
        case ValueKind::interval:
            return "a number of steps (100) or minutes (10m), or 0";
        case ValueKind::text:
            break;
    }
    return "a string";
}

std::vector<std::string> split_text(const std::string& text, char separator) {
    std::vector<std::string> parts;
    for (std::size_t begin = 0; begin < text.size() + 1 && !text.empty();) {
        const std::size_t end = std::min(text.find(separator, begin), text.size());
        parts.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

void require_decimal_numbers(CLI::App& app) {
    for (CLI::Option* const option : app.get_options()) {
        const ValueKind kind = kind_of(*option);
        if (kind != ValueKind::integer && kind != ValueKind::unsigned_integer && kind != ValueKind::number)
            continue;
        try {
            option->get_validator(kValidator);
        } catch (const CLI::OptionNotFound&) {
            option->transform(decimal(kind));  // runs before the option's other checks
        }
    }
    for (CLI::App* const sub : app.get_subcommands({})) require_decimal_numbers(*sub);
}

CLI::Validator as_bytes() {
    return CLI::Validator(
        [](std::string& text) -> std::string {
            const std::optional<std::int64_t> bytes = parse_bytes(text);
            if (!bytes) return fmt::format("must be {}, got '{}'", description(ValueKind::bytes), text);
            text = std::to_string(*bytes);
            return "";
        },
        "");
}

}  // namespace glow

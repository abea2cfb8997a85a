// Value types of options, and one strict number parser for all commands. CLI11 reads 010 as eight, 0x10 as
// sixteen and an empty text as zero, differently in each version.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>
#include <type_traits>
#include <vector>

#include "data/formats/decimal.h"
#include "kernels/enum_names.h"

namespace glow {

enum class ValueKind { flag, integer, unsigned_integer, number, bytes, interval, text };

// Determined by the type name that --help shows. Throws std::logic_error for unknown names: options with a
// new type name must be added here.
ValueKind kind_of(const CLI::Option& option);
// Completes "must be ...": "one integer", "one number", "a string", ...
std::string description(ValueKind kind);

// Makes every numeric option of `app` and its subcommands reject non-decimal text, and pass the rest to CLI11
// without leading zeros. Options already processed are unchanged.
void require_decimal_numbers(CLI::App& app);

// Checks a number of type T; returns "" or the problem.
template <class T>
std::string number_problem(const std::string& text) {
    T value{};
    const std::errc error = parse_decimal(text, value);
    if (error == std::errc::result_out_of_range) return "'" + text + "' is out of range";
    if (error == std::errc()) return "";
    const ValueKind kind = std::is_floating_point_v<T> ? ValueKind::number
                           : std::is_unsigned_v<T>     ? ValueKind::unsigned_integer
                                                       : ValueKind::integer;
    return "must be " + description(kind) + ", got '" + text + "'";
}

// Converts "500MiB", "4 g" or "1024" to bytes. As in the GNU tools, GB is 10^9 bytes; GiB and G are 2^30.
CLI::Validator as_bytes();

// An option whose values are names of an enum. Value: the enum, or std::optional of it.
template <Named T, class Value>
CLI::Option* add_choice_of(CLI::App& app, const std::string& name, Value& value, const std::string& help) {
    const auto problem = [](const std::string& text) {
        return find_name<T>(text) ? "" : "must be " + known_names<T>() + ", got '" + text + "'";
    };
    const auto set = [&value](const std::string& text) { value = parse_name<T>(text); };
    return app.add_option_function<std::string>(name, set, help)->check(CLI::Validator(problem, ""));
}
template <Named T>
CLI::Option* add_choice(CLI::App& app, const std::string& name, T& value, const std::string& help) {
    return add_choice_of<T>(app, name, value, help)->default_str(to_string(value));
}
template <Named T>
CLI::Option* add_choice(CLI::App& app, const std::string& name, std::optional<T>& value,
                        const std::string& help) {
    return add_choice_of<T>(app, name, value, help)->default_str(value ? to_string(*value) : "");
}

// Splits "a,b,c"; empty text has no parts.
std::vector<std::string> split_text(const std::string& text, char separator = ',');

// Throws InputError, naming the option, unless the text is a number between low and high.
template <class T>
T parse_number(const std::string& option, const std::string& text, T low, T high) {
    T value{};
    if (parse_decimal(text, value) != std::errc() || !(value >= low && value <= high))
        throw InputError(
            fmt::format("{} \"{}\": expected a number between {} and {}", option, text, low, high));
    return value;
}

template <class T>
std::vector<T> parse_numbers(const std::string& option, const std::string& text, T low, T high) {
    std::vector<T> numbers;
    for (const std::string& part : split_text(text)) numbers.push_back(parse_number(option, part, low, high));
    return numbers;
}

// An option of comma-separated values in one word; the last of a repeated option wins (CLI11's lists would be
// concatenated). check: applied to every value.
template <class T>
CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<T>& values, const std::string& help,
                      const CLI::Validator& check = CLI::Validator("")) {
    const auto parse = [&values, name, check](const std::string& text) {
        values.clear();
        for (std::string part : text.empty() ? std::vector<std::string>{""} : split_text(text)) {
            std::string problem;
            T value{};
            if constexpr (std::is_arithmetic_v<T>) {
                problem = number_problem<T>(part);
                if (problem.empty()) parse_decimal(part, value);
                if (problem.empty() && std::is_integral_v<T>) part = std::to_string(value);
            } else {
                value = part;
            }
            if (problem.empty()) problem = check(part);
            if (problem.empty() && part.empty()) problem = "a value is missing";
            if (!problem.empty()) throw CLI::ValidationError(name, problem);
            values.push_back(value);
        }
    };
    std::string defaults;
    for (const T& value : values) defaults += (defaults.empty() ? "" : ",") + CLI::detail::to_string(value);
    return app.add_option_function<std::string>(name, parse, help)->default_str(defaults);
}

}  // namespace glow

// Numbers on the command line: a check that the parser itself does not make, and lists.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <type_traits>
#include <vector>

namespace glow {

// The parser takes an empty text for 0, a number that is too large for the largest one, and so -1 where there
// is no sign.
template <class T>
CLI::Validator is_number() {
    return CLI::Validator(
        [](std::string& text) -> std::string {
            if (text.empty()) return "a number is missing";
            if (std::is_unsigned_v<T> && text.find('-') != std::string::npos) return text + " is below 0";
            if constexpr (std::is_integral_v<T>) {
                errno = 0;
                if constexpr (std::is_unsigned_v<T>)
                    std::strtoull(text.c_str(), nullptr, 0);
                else
                    std::strtoll(text.c_str(), nullptr, 0);
                if (errno == ERANGE) return text + " is out of range";
            }
            return "";
        },
        "", "number");
}

// An option of values separated by commas, in one word: where it is repeated the last one wins, as of every
// option (the parser's own lists would be joined). check: of every value.
template <class T>
CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<T>& values, const std::string& help,
                      const CLI::Validator& check = CLI::Validator("")) {
    const auto parse = [&values, name, check](const std::string& text) {
        values.clear();
        for (std::size_t begin = 0; begin <= text.size();) {
            const std::size_t comma = std::min(text.find(',', begin), text.size());
            std::string part = text.substr(begin, comma - begin);
            std::string problem;
            if constexpr (std::is_arithmetic_v<T>) problem = is_number<T>()(part);
            if (problem.empty()) problem = check(part);
            T value{};
            if (problem.empty() && (part.empty() || !CLI::detail::lexical_cast(part, value)))
                problem = "\"" + part + "\" cannot be used";
            if (!problem.empty()) throw CLI::ValidationError(name, problem);
            values.push_back(value);
            begin = comma + 1;
        }
    };
    std::string defaults;
    for (const T& value : values) defaults += (defaults.empty() ? "" : ",") + CLI::detail::to_string(value);
    return app.add_option_function<std::string>(name, parse, help)->default_str(defaults);
}

}  // namespace glow

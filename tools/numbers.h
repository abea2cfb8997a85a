// A check of numbers on the command line that the parser itself does not make.
#pragma once

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <type_traits>

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

}  // namespace glow

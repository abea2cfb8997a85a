// A check of numbers on the command line that the parser itself does not make.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <type_traits>

namespace glow {

// The parser takes an empty text for 0 and, where there is no sign, -1 for the largest number.
template <class T>
CLI::Validator is_number() {
    return CLI::Validator(
        [](std::string& text) -> std::string {
            if (text.empty()) return "a number is missing";
            if (std::is_unsigned_v<T> && text.find('-') != std::string::npos) return text + " is below 0";
            return "";
        },
        "", "number");
}

}  // namespace glow

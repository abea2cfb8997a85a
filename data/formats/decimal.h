// Parser for decimal numbers with an optional sign, shared by command line, config.toml and lists. 010 is ten
// everywhere; 0x10, 1_000, " 8", nan and inf are errors.
#pragma once

#include <charconv>
#include <cmath>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace glow {

// Returns std::errc() and sets `value`, or returns invalid_argument (not a number) or result_out_of_range.
// Unsigned types take no minus sign, integers no fraction or exponent.
template <class T>
std::errc parse_decimal(std::string_view text, T& value) {
    const bool minus = text.starts_with('-');
    const std::string_view digits = text.substr(minus || text.starts_with('+') ? 1 : 0);
    if (minus && std::is_unsigned_v<T>) return std::errc::invalid_argument;
    const char* const known = std::is_integral_v<T> ? "0123456789" : "0123456789.eE+-";
    if (digits.empty() || digits.find_first_not_of(known) != std::string_view::npos ||
        digits.find_first_of("+-") == 0)
        return std::errc::invalid_argument;
    if (text.starts_with('+')) text.remove_prefix(1);
    T parsed{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed);
    if (error != std::errc()) return error;
    if (end != text.data() + text.size()) return std::errc::invalid_argument;
    if constexpr (std::is_floating_point_v<T>) {
        const std::string_view mantissa = digits.substr(0, digits.find_first_of("eE"));
        const bool is_zero = mantissa.find_first_of("123456789") == std::string_view::npos;
        if (!std::isfinite(parsed) || (parsed == 0 && !is_zero)) return std::errc::result_out_of_range;
    }
    value = parsed;
    return std::errc();
}

}  // namespace glow

// The texts of an option's values: one table for the command line, files and messages.
//
//     enum class Optimizer { adamax, adam };
//     template <>
//     struct EnumNames<Optimizer> {
//         static constexpr const char* what = "optimizer";
//         static constexpr EnumName<Optimizer> values[] = {{Optimizer::adamax, "adamax"},
//                                                            {Optimizer::adam, "adam"}};
//     };
#pragma once

#include <iterator>
#include <optional>
#include <string>

#include "kernels/error.h"

namespace glow {

template <class T>
struct EnumName {
    T value;
    const char* name;
};

// Specialized for each type of option: what (for messages) and values.
template <class T>
struct EnumNames;

template <class T>
concept Named = requires {
    EnumNames<T>::values;
};

template <Named T>
std::string to_string(const T& value) {
    for (const EnumName<T>& candidate : EnumNames<T>::values)
        if (candidate.value == value) return candidate.name;
    return "?";
}

// The name of a named value; any other value itself.
template <class T>
auto printable(const T& value) {
    if constexpr (Named<T>)
        return to_string(value);
    else
        return value;
}

// "fp32, tf32 or bf16".
template <Named T>
std::string known_names() {
    const std::size_t count = std::size(EnumNames<T>::values);
    std::string text;
    for (std::size_t i = 0; i < count; ++i)
        text += (i == 0 ? "" : i + 1 < count ? ", " : " or ") + std::string(EnumNames<T>::values[i].name);
    return text;
}

template <Named T>
std::optional<T> find_name(const std::string& text) {
    for (const EnumName<T>& candidate : EnumNames<T>::values)
        if (text == candidate.name) return candidate.value;
    return {};
}

// InputError, with the names that are known, for any other text.
template <Named T>
T parse_name(const std::string& text) {
    if (const std::optional<T> found = find_name<T>(text)) return *found;
    throw InputError(std::string(EnumNames<T>::what) + " must be " + known_names<T>() + ", got '" + text +
                     "'");
}

}  // namespace glow

#include "train/toml_text.h"

#include <fmt/format.h>

#include "kernels/error.h"

namespace glow {
namespace {

bool is_control(char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

}  // namespace

std::size_t valid_utf8(std::string_view text) {
    const auto byte = [&text](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    std::size_t at = 0;
    while (at < text.size()) {
        const unsigned char first = byte(at);
        const std::size_t length = first < 0x80                    ? 1
                                   : first >= 0xc2 && first < 0xe0 ? 2
                                   : first >= 0xe0 && first < 0xf0 ? 3
                                   : first >= 0xf0 && first < 0xf5 ? 4
                                                                   : 0;
        if (length == 0 || text.size() - at < length) return at;
        for (std::size_t i = 1; i < length; ++i)
            if ((byte(at + i) & 0xc0) != 0x80) return at;
        // Reject overlong encodings, surrogates and values beyond U+10FFFF.
        const unsigned char second = length > 1 ? byte(at + 1) : 0;
        if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
            (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
            return at;
        at += length;
    }
    return at;
}

std::string toml_string(const std::string& text) {
    if (valid_utf8(text) < text.size()) {
        std::string shown;
        for (const char c : text)
            shown += static_cast<unsigned char>(c) < 0x80 && !is_control(c)
                         ? std::string(1, c)
                         : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        throw InputError(
            fmt::format("the name {} is not UTF-8 and cannot be stored in config.toml: rename it", shown));
    }
    bool plain = true;
    for (const char c : text) plain = plain && c != '\'' && !is_control(c);
    if (plain) return '\'' + text + '\'';
    std::string escaped = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            escaped += std::string("\\") + c;
        else if (c == '\n')
            escaped += "\\n";
        else if (c == '\r')
            escaped += "\\r";
        else if (c == '\t')
            escaped += "\\t";
        else if (is_control(c))
            escaped += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
        else
            escaped += c;
    }
    return escaped + '"';
}

}  // namespace glow

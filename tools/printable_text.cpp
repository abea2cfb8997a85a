#include "tools/printable_text.h"

#include <fmt/format.h>

namespace glow {

std::string printable_text(const std::string& text) {
    std::string shown;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
        const bool control = (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f;
        // U+0080 to U+009F: some terminals take the one for ESC [.
        if (byte == 0xc2 && next >= 0x80 && next < 0xa0)
            shown += fmt::format("\\x{:02x}\\x{:02x}", byte, static_cast<unsigned char>(text[++i]));
        else
            shown += control ? fmt::format("\\x{:02x}", byte) : std::string(1, text[i]);
    }
    return shown;
}

}  // namespace glow

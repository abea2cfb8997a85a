// Names of files and data sets in text for a terminal.
#pragma once

#include <string>

namespace glow {

// The text with control characters as \x1b, with which a name could change the terminal; newlines and tabs stay.
std::string printable_text(const std::string& text);

}  // namespace glow

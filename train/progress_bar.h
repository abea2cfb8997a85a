// The progress line of a run on a terminal.
#pragma once

#include <string>

namespace glow {

// Removes what the current line of a terminal shows.
inline constexpr const char* kEraseLine = "\r\033[K";

// "[####------]  37%  TEXT" on at most `columns` - 1 columns, so that the terminal never wraps it: the bar
// shrinks first, then the text is cut. fraction: completed part of the run; negative if it has no limit, then
// only the text.
std::string progress_bar(double fraction, const std::string& text, int columns);

// Width of the terminal on stderr in columns; 80 if unknown.
int terminal_columns();

}  // namespace glow

// Seeking in input files.
#pragma once

#include <cerrno>
#include <istream>

namespace glow {

// Like seekg(), but a failure counts as a failed read (read_problem() in input_path.h), not as the end of the file.
inline void seek(std::istream& stream, std::streamoff position) {
    errno = 0;
    if (!stream.seekg(position)) stream.setstate(std::ios::badbit);
}

}  // namespace glow

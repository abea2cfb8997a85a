// The one exception of the project. `Error` is a failure while running (exit 1); `InputError` is bad usage,
// bad input, or something this build or machine lacks (exit 2). A message says what was expected, what came,
// and the way out. No fmt here: .cu files include this header.
#pragma once

#include <stdexcept>
#include <string>

namespace glow {

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct InputError : Error {
    using Error::Error;
};

// Out of line, so that a .cu file can throw without pulling in anything heavy.
[[noreturn]] void throw_error(const std::string& message);
[[noreturn]] void throw_cuda_error(const char* call, int code, const char* name, const char* file, int line);

}  // namespace glow

// The project's exceptions. `Error` is a run-time failure (exit status 1); `InputError` is bad usage, bad
// input, or something this build or machine lacks (exit status 2). Messages say what was expected, what was
// found and how to fix it. No fmt here, because .cu files include this header.
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

// Out of line, so that .cu files can throw without heavy headers.
[[noreturn]] void throw_error(const std::string& message);
[[noreturn]] void throw_cuda_error(const char* call, int code, const char* name, const char* file, int line);

}  // namespace glow

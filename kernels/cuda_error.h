// Exceptions for errors of CUDA. Does not include its headers; codes are of cudaError_t.
#pragma once

#include "kernels/error.h"

namespace glow {

// A failed call of the CUDA runtime. After errors of the GPU itself or of an earlier kernel, the message says
// what to do.
[[noreturn]] void throw_runtime_error(const char* call, int code, const char* name, const char* file,
                                      int line);
// The same for a kernel's launch. InputError if the GPU has no memory for the kernel's code.
[[noreturn]] void throw_launch_error(const char* kernel, int code, const char* name, const char* file,
                                     int line);

}  // namespace glow

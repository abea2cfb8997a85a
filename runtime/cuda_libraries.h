// The CUDA libraries that Glow calls (cuBLASLt, cuBLAS, cuSOLVER), loaded at the first call of one of their
// functions: loading them takes 0.1 s, which work on the CPU should not pay.
#pragma once

#include <string>

namespace glow::cuda {

// Loads the libraries. The message of the failure, or "".
std::string load_libraries();

}  // namespace glow::cuda

// The seam between the runtime and cuDNN, free of vendor types: cudnn_conv.cpp fulfils it, or no_cudnn.cpp.
#pragma once

#include <memory>
#include <string>

#include "runtime/conv.h"

namespace glow::cuda {

// Opens the library at the first has() or run(), so that memory plans need none.
std::unique_ptr<Conv> make_conv(const Exec& exec);

// "9.19.0", of the library as it is found when the program runs, or "no".
std::string cudnn_version();

}  // namespace glow::cuda

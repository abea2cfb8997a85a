// Interface between the runtime and cuDNN without vendor types. Implemented by cudnn_conv.cpp or
// no_cudnn.cpp.
#pragma once

#include <memory>
#include <string>

#include "runtime/conv.h"

namespace glow::cuda {

// Opens the library at the first has() or run(), so that memory planning does not need it.
std::unique_ptr<Conv> make_conv(const Exec& exec);

// Version of the library loaded at run time, "9.19.0", or "no".
std::string cudnn_version();

}  // namespace glow::cuda

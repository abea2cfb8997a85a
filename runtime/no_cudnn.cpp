// CUDA builds without cuDNN use matrix products.
#include "runtime/cudnn.h"

namespace glow::cuda {

std::unique_ptr<Conv> make_conv(const Exec&) {
    return std::make_unique<Conv>();
}

std::string cudnn_version() {
    return "no";
}

}  // namespace glow::cuda

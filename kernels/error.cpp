#include "kernels/error.h"

namespace glow {

void throw_error(const std::string& message) {
    throw Error(message);
}

}  // namespace glow

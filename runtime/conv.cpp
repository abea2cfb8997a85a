// Default implementation: no vendor convolutions.
#include "runtime/conv.h"

#include "kernels/error.h"

namespace glow {

void Conv::run(const Convolution&, const void*, const void*, void*, void*) {
    throw Error("this device has no vendor convolutions, only matrix products");
}

}  // namespace glow

// Network precision: whether a device supports it, and the reconstruction error that it explains.
#pragma once

#include "layers/config.h"
#include "runtime/context.h"

namespace glow {

// Throws InputError if the device has no matrix products of that precision.
void check_precision(const Backend& backend, Precision precision);

// Largest error of a reconstructed image, in units of the state, that rounding explains. A reconstructed
// network input may round differently from the original; the image is then off by a rounding step of the
// networks' precision.
double drift_tolerance(Precision precision);

}  // namespace glow

// Blas on a cblas library: double products everywhere, float too where there is no oneDNN.
#pragma once

#include "runtime/blas.h"

namespace glow {

std::unique_ptr<Blas> make_openblas(int threads);

}  // namespace glow

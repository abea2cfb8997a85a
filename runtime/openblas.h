// Blas on a cblas library: double products everywhere, and float products without oneDNN.
#pragma once

#include "runtime/blas.h"
#include "runtime/threads.h"

namespace glow {

std::unique_ptr<Blas> make_openblas(int threads);

// While this object lives, a BLAS or LAPACK function that this thread calls runs in this thread alone.
class ScopedBlasThreads {
  public:
    ScopedBlasThreads();

  private:
    ScopedTeam team_;  // BLAS may use OpenMP
};

}  // namespace glow

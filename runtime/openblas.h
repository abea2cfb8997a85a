// Blas on a cblas library: double products everywhere, and float products without oneDNN.
#pragma once

#include "runtime/blas.h"
#include "runtime/threads.h"

namespace glow {

std::unique_ptr<Blas> make_openblas(int threads);

// While this object lives, BLAS and LAPACK use the threads of a backend with `threads`, or the part available
// here (available_team()). One thread if oneDNN does the large products.
class ScopedBlasThreads {
  public:
    explicit ScopedBlasThreads(int threads);

  private:
    ScopedTeam team_;  // OpenBLAS may use OpenMP
};

}  // namespace glow

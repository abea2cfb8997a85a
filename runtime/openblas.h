// Blas on a cblas library: double products everywhere, float too where there is no oneDNN.
#pragma once

#include "runtime/blas.h"
#include "runtime/threads.h"

namespace glow {

std::unique_ptr<Blas> make_openblas(int threads);

// For the lifetime of this object BLAS and LAPACK use the threads of a backend with `threads`, or what is
// left of them here (available_team()). One thread where oneDNN does the wide products.
class ScopedBlasThreads {
  public:
    explicit ScopedBlasThreads(int threads);

  private:
    ScopedTeam team_;  // OpenBLAS may be built on OpenMP
};

}  // namespace glow

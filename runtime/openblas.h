// Blas on a cblas library: double products everywhere, and float products without oneDNN.
#pragma once

#include "runtime/blas.h"
#include "runtime/threads.h"

namespace glow {

std::unique_ptr<Blas> make_openblas(int threads);

// Maps the buffers that OpenBLAS needs for products on `threads` threads, unless this process has them.
// Throws InputError if a limit leaves no room for them: later, OpenBLAS would retry forever.
void reserve_blas_buffers(int threads);
// Address space of those buffers, of which few bytes are ever touched; 0 for another BLAS.
std::size_t blas_buffer_bytes(int threads);

// While this object lives, a BLAS or LAPACK function that this thread calls runs in this thread alone.
// OpenBLAS's number of threads is a setting of the process: the calling program's is restored when the last
// of these objects ends.
class ScopedBlasThreads {
  public:
    ScopedBlasThreads();
    ~ScopedBlasThreads();
    ScopedBlasThreads(const ScopedBlasThreads&) = delete;
    ScopedBlasThreads& operator=(const ScopedBlasThreads&) = delete;

  private:
    ScopedTeam team_;  // BLAS may use OpenMP
};

}  // namespace glow

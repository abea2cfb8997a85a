// Without oneDNN all products use OpenBLAS.
#include "runtime/openblas.h"

namespace glow {

std::unique_ptr<Blas> make_cpu_blas(int threads) {
    return make_openblas(threads);
}

}  // namespace glow

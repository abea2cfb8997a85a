// The parts of the GPU's solver that need no GPU, for tests: the fixed rule and the layout of its scratch.
#pragma once

#include <cstddef>

#include "kernels/base.h"
#include "runtime/memory.h"

namespace glow::cuda {

// Up to this order cuBLAS takes the matrices of a level together; above, a matrix fills the GPU by itself and
// cuSOLVER's blocked LU is the better one.
inline constexpr index_t kLargestBatched = 128;
bool is_batched(index_t n);

// Offsets in bytes of the parts of the scratch of `count` matrices of order n, each aligned to kAlignment.
struct SolverScratch {
    std::size_t lu = 0, partial = 0, lu_rows = 0, inverse_rows = 0, pivots = 0, failed = 0, failed_too = 0,
                work = 0, total = 0;
};
SolverScratch solver_scratch(index_t count, index_t n, std::size_t work_bytes);

}  // namespace glow::cuda

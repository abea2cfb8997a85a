// GPU-independent parts of the CUDA solver, exposed for tests: the choice of library and the scratch layout.
#pragma once

#include <cstddef>

#include "kernels/base.h"
#include "runtime/memory.h"

namespace glow::cuda {

// Up to this order cuBLAS inverts a level's matrices as a batch. Larger matrices fill the GPU on their own,
// and cuSOLVER's blocked LU is faster.
inline constexpr index_t kMaxBatched = 128;
bool is_batched(index_t n);

// Byte offsets of the scratch arrays for `count` matrices of order n, each aligned to kAlignment.
struct SolverScratch {
    std::size_t lu = 0, partial = 0, lu_rows = 0, inverse_rows = 0, pivots = 0, lu_failed = 0,
                inverse_failed = 0, work = 0, total = 0;
};
SolverScratch solver_scratch(index_t count, index_t n, std::size_t work_bytes);

}  // namespace glow::cuda

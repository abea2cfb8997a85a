// The parts of a cuBLASLt product that need no GPU, for tests: descriptors, alignment, workspace.
#pragma once

#include "runtime/blas.h"
#include "runtime/cuda_call.h"
#include "runtime/memory.h"

namespace glow::cuda {

// Bytes that any algorithm may use: NVIDIA's advice for Hopper, fixed, so that a memory plan needs no GPU.
inline constexpr std::size_t kBlasWorkspace = std::size_t{32} << 20;
inline constexpr std::size_t kScratchAlignment = 256;

// What Blas::scratch_bytes() says on CUDA.
std::size_t blas_scratch_bytes(const Gemm& gemm);

// Bytes that an operand is aligned to at least: blocks of arenas are to kAlignment, and operands begin at
// their rows, `stride` elements each.
std::size_t alignment_of(Scalar type, index_t stride);

// All that cuBLASLt is told of a product. fused: with its epilogue.
struct Description {
    Description(const Gemm& gemm, bool fused);
    LtDescription product;
    LtLayout first, second, result;  // of B, A and C
    LtPreference preference;
};

}  // namespace glow::cuda

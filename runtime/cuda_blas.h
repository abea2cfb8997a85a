// GPU-independent parts of a cuBLASLt product, exposed for tests: descriptors, alignment, workspace.
#pragma once

#include "runtime/blas.h"
#include "runtime/cuda_call.h"
#include "runtime/memory.h"

namespace glow::cuda {

// Workspace limit for every algorithm: NVIDIA's recommendation for Hopper, fixed so that planning needs no
// GPU.
inline constexpr std::size_t kBlasWorkspace = std::size_t{32} << 20;
inline constexpr std::size_t kScratchAlignment = 256;

// Blas::scratch_bytes() on CUDA.
std::size_t blas_scratch_bytes(const Gemm& gemm);

// Guaranteed alignment of an operand: arena blocks are aligned to kAlignment, and operands start at their
// rows of `stride` elements.
std::size_t alignment_of(Scalar type, index_t stride);

// The description of a product for cuBLASLt. fused: including its epilogue.
struct Description {
    Description(const Gemm& gemm, bool fused);
    LtDescription product;
    LtLayout first, second, result;  // of B, A and C
    LtPreference preference;
};

}  // namespace glow::cuda

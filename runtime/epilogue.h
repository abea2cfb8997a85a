// Epilogues of products by our own kernels, for libraries without fused epilogues.
#pragma once

#include "runtime/blas.h"

namespace glow {

// C [m, n] <- the product's epilogue of C.
void run_epilogue(const Exec& exec, const Gemm& gemm, const EpilogueData& data, void* c);

}  // namespace glow

// Matrix products, the first of the narrow interfaces to vendor libraries. Row-major throughout:
// C [m, n] = op(A) [m, k] op(B) [k, n] (+ C), then the epilogue.
#pragma once

#include <cstddef>
#include <memory>

#include "kernels/base.h"

namespace glow {

// tf32: f32 in memory, rounded to 10 bits of mantissa as it is multiplied; of operands only.
enum class Scalar { f32, f64, bf16, tf32 };
template <class T>
inline constexpr Scalar scalar_of = Scalar::f32;
template <>
inline constexpr Scalar scalar_of<double> = Scalar::f64;
template <>
inline constexpr Scalar scalar_of<bfloat16> = Scalar::bf16;

enum class Epilogue { none, relu, bias_relu };  // bias [n] is of type f32 (f64 for f64 products)

struct Gemm {
    index_t m = 0, n = 0, k = 0;
    bool transpose_a = false, transpose_b = false;  // A is [k, m], B is [n, k] in memory
    index_t lda = 0, ldb = 0, ldc = 0;              // elements from a row in memory to the next
    Scalar in = Scalar::f32, out = Scalar::f32;     // of A and B, of C; bf16 products sum in float
    bool accumulate = false;                        // C += instead of C =; without epilogue only
    Epilogue epilogue = Epilogue::none;

    auto operator<=>(const Gemm&) const = default;

    Gemm with(Epilogue added) const {
        Gemm gemm = *this;
        gemm.epilogue = added;
        return gemm;
    }
    Gemm accumulating() const {
        Gemm gemm = *this;
        gemm.accumulate = true;
        return gemm;
    }
};

// Products of dense matrices, whose rows follow each other without gaps: C [m, n] = A [m, k] B [k, n], with B
// [n, k] transposed (nt), or with A [k, m] transposed (tn).
constexpr Gemm gemm_nn(index_t m, index_t n, index_t k, Scalar in, Scalar out) {
    return {.m = m, .n = n, .k = k, .lda = k, .ldb = n, .ldc = n, .in = in, .out = out};
}
constexpr Gemm gemm_nt(index_t m, index_t n, index_t k, Scalar in, Scalar out) {
    return {.m = m, .n = n, .k = k, .transpose_b = true, .lda = k, .ldb = k, .ldc = n, .in = in, .out = out};
}
constexpr Gemm gemm_tn(index_t m, index_t n, index_t k, Scalar in, Scalar out) {
    return {.m = m, .n = n, .k = k, .transpose_a = true, .lda = m, .ldb = n, .ldc = n, .in = in, .out = out};
}

class Blas {
  public:
    virtual ~Blas() = default;
    // Operands begin at rows of blocks from an arena.
    // Bytes of scratch that run() wants for this product; fixed per product, as is the algorithm.
    virtual std::size_t scratch_bytes(const Gemm& gemm) = 0;
    // Results are bit-equal for equal arguments and thread count.
    virtual void run(const Gemm& gemm, const void* a, const void* b, void* c, const void* bias,
                     void* scratch) = 0;
    virtual bool has_bf16() const = 0;
    virtual bool has_tf32() const { return false; }
};

// oneDNN for float and bf16 with fused epilogues where the build has it, else OpenBLAS; OpenBLAS for double.
std::unique_ptr<Blas> make_cpu_blas(int threads);

}  // namespace glow

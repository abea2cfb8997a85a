// Matrix products. Row-major throughout: C [m, n] = op(A) [m, k] op(B) [k, n] (+ C), then the epilogue.
#pragma once

#include <cstddef>
#include <memory>

#include "kernels/base.h"
#include "kernels/enum_names.h"

namespace glow {

// tf32: f32 in memory, rounded to 10 mantissa bits during multiplication; operands only.
enum class Scalar { f32, f64, bf16, tf32 };
template <class T>
inline constexpr Scalar scalar_of = Scalar::f32;
template <>
inline constexpr Scalar scalar_of<double> = Scalar::f64;
template <>
inline constexpr Scalar scalar_of<bfloat16> = Scalar::bf16;
template <>
struct EnumNames<Scalar> {
    static constexpr const char* what = "type";
    static constexpr EnumName<Scalar> values[] = {
        {Scalar::f32, "f32"}, {Scalar::f64, "f64"}, {Scalar::bf16, "bf16"}, {Scalar::tf32, "tf32"}};
};

// Bytes of an element.
constexpr index_t size_of(Scalar scalar) {
    return scalar == Scalar::bf16 ? 2 : scalar == Scalar::f64 ? 8 : 4;
}

enum class Epilogue { none, relu, bias_relu };
template <>
struct EnumNames<Epilogue> {
    static constexpr const char* what = "epilogue";
    static constexpr EnumName<Epilogue> values[] = {
        {Epilogue::none, "none"}, {Epilogue::relu, "relu"}, {Epilogue::bias_relu, "bias_relu"}};
};
// What the epilogue bias_relu reads.
struct EpilogueData {
    const void* bias = nullptr;          // [n] of type f32 (f64 for f64 products)
    const void* rounded_bias = nullptr;  // the same in C's type, for libraries that need it so
};

struct Gemm {
    index_t m = 0, n = 0, k = 0;
    bool transpose_a = false, transpose_b = false;  // A is [k, m], B is [n, k] in memory
    index_t lda = 0, ldb = 0, ldc = 0;              // row strides in memory, in elements
    Scalar in = Scalar::f32, out = Scalar::f32;     // in: A and B, out: C; bf16 products sum in float
    bool accumulate = false;                        // C += instead of C =; requires epilogue none
    Epilogue epilogue = Epilogue::none;

    auto operator<=>(const Gemm&) const = default;

    Gemm with(Epilogue added) const {
        Gemm gemm = *this;
        gemm.epilogue = added;
        return gemm;
    }
    Gemm adding(bool accumulate) const {
        Gemm gemm = *this;
        gemm.accumulate = accumulate;
        return gemm;
    }
};

// Products of dense matrices without gaps between rows: C [m, n] = A [m, k] B [k, n], with B transposed from
// [n, k] (nt) or A transposed from [k, m] (tn).
constexpr Gemm gemm_nn(index_t m, index_t n, index_t k, Scalar in, Scalar out) {
    return {.m = m, .n = n, .k = k, .lda = k, .ldb = n, .ldc = n, .in = in, .out = out};
}
constexpr Gemm gemm_nt(index_t m, index_t n, index_t k, Scalar in, Scalar out) {
    return {.m = m, .n = n, .k = k, .transpose_b = true, .lda = k, .ldb = k, .ldc = n, .in = in, .out = out};
}
constexpr Gemm gemm_tn(index_t m, index_t n, index_t k, Scalar in, Scalar out) {
    return {.m = m, .n = n, .k = k, .transpose_a = true, .lda = m, .ldb = n, .ldc = n, .in = in, .out = out};
}

// The minimum that a product must read and write, in bytes, without the epilogue.
constexpr double bytes_of(const Gemm& g) {
    const auto size = [](Scalar scalar) { return static_cast<double>(size_of(scalar)); };
    const double m = static_cast<double>(g.m), n = static_cast<double>(g.n), k = static_cast<double>(g.k);
    return size(g.in) * (m * k + k * n) + size(g.out) * m * n * (g.accumulate ? 2 : 1);
}

class Blas {
  public:
    virtual ~Blas() = default;
    // Scratch bytes that run() needs for this product. Size and algorithm are fixed per product.
    virtual std::size_t scratch_bytes(const Gemm& gemm) = 0;
    // Runs a product. Operands must start at rows of arena blocks. Results are bit-equal for equal arguments
    // and thread count.
    virtual void run(const Gemm& gemm, const void* a, const void* b, void* c, const EpilogueData& data,
                     void* scratch) = 0;
    // Number of algorithms that the library offers for a product, in the order of expected speed. They may
    // round differently. Needs the device.
    virtual int algorithms(const Gemm&) { return 1; }
    // Selects the algorithm that run() uses instead of the first. Ignores invalid indices.
    virtual void choose(const Gemm&, int /*algorithm*/) {}
    virtual bool has_bf16() const = 0;
    virtual bool has_tf32() const { return false; }
};

// oneDNN with fused epilogues for float and bf16 if available, otherwise OpenBLAS; always OpenBLAS for
// double.
std::unique_ptr<Blas> make_cpu_blas(int threads);

}  // namespace glow

// Blas on cuBLASLt. A row-major C [m, n] is the column-major C^T [n, m], so every product is computed as C^T
// = op(B)^T op(A)^T: B comes first, n and m are exchanged, and a bias over the rows of C^T is a bias over
// output channels. Each product is planned once: descriptors and an algorithm.
#include "runtime/cuda_blas.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "runtime/blas.h"
#include "runtime/cuda.h"
#include "runtime/cuda_call.h"
#include "runtime/epilogue.h"

namespace glow::cuda {

namespace {

cudaDataType cuda_type_of(Scalar scalar) {
    return scalar == Scalar::bf16 ? CUDA_R_16BF : scalar == Scalar::f64 ? CUDA_R_64F : CUDA_R_32F;
}
// f32 and bf16 products accumulate in float; f32 operands are not rounded.
cublasComputeType_t compute_type(const Gemm& g) {
    if (g.in == Scalar::f64) return CUBLAS_COMPUTE_64F;
    return g.in == Scalar::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}
std::size_t aligned(std::size_t bytes) {
    return (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
}
// The epilogue needs the bias in C's type.
bool casts_bias(const Gemm& g) {
    return g.epilogue == Epilogue::bias_relu && g.out == Scalar::bf16;
}

std::string text_of(const Gemm& g) {
    return fmt::format("[{}, {}] x [{}, {}]", g.m, g.k, g.k, g.n);
}

cublasLtEpilogue_t epilogue_of(Epilogue epilogue) {
    switch (epilogue) {
        case Epilogue::none:
            return CUBLASLT_EPILOGUE_DEFAULT;
        case Epilogue::relu:
            return CUBLASLT_EPILOGUE_RELU;
        case Epilogue::bias_relu:
            return CUBLASLT_EPILOGUE_RELU_BIAS;
    }
    throw Error("unknown epilogue");
}

LtLayout make_layout(Scalar type, index_t rows, index_t columns, index_t stride) {
    LtLayout layout;
    // A row-major [rows, columns] is column-major [columns, rows] with the same leading dimension.
    GLOW_CUDA(cublasLtMatrixLayoutCreate(layout.out(), cuda_type_of(type), static_cast<uint64_t>(columns),
                                         static_cast<uint64_t>(rows), stride));
    return layout;
}

template <class T>
void set(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, T value) {
    GLOW_CUDA(cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof value));
}
template <class T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    GLOW_CUDA(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value));
}

}  // namespace

std::size_t alignment_of(Scalar type, index_t stride) {
    const auto bytes = static_cast<std::size_t>(stride * size_of(type));
    return std::min(bytes & (~bytes + 1), kAlignment);  // lowest set bit
}

std::size_t blas_scratch_bytes(const Gemm& gemm) {
    const std::size_t bias = casts_bias(gemm) ? aligned(static_cast<std::size_t>(gemm.n) * 2) : 0;
    return kScratchAlignment + bias + kBlasWorkspace;  // extra space to align the rest
}

Description::Description(const Gemm& g, bool fused)
    : first(make_layout(g.in, g.transpose_b ? g.n : g.k, g.transpose_b ? g.k : g.n, g.ldb)),
      second(make_layout(g.in, g.transpose_a ? g.k : g.m, g.transpose_a ? g.m : g.k, g.lda)),
      result(make_layout(g.out, g.m, g.n, g.ldc)) {
    GLOW_CUDA(cublasLtMatmulDescCreate(product.out(), compute_type(g),
                                       g.in == Scalar::f64 ? CUDA_R_64F : CUDA_R_32F));
    // The first operand of C^T is B.
    set(product, CUBLASLT_MATMUL_DESC_TRANSA, g.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(product, CUBLASLT_MATMUL_DESC_TRANSB, g.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (fused && g.epilogue != Epilogue::none) {
        set(product, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(g.epilogue));
        // The heuristic checks only the pointers' alignment.
        if (g.epilogue == Epilogue::bias_relu)
            set(product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, reinterpret_cast<const void*>(kAlignment));
    }
    GLOW_CUDA(cublasLtMatmulPreferenceCreate(preference.out()));
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kBlasWorkspace});
    // No in-place reduction, whose order is nondeterministic.
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    const auto aligned = [&](cublasLtMatmulPreferenceAttributes_t attribute, Scalar type, index_t stride) {
        set(preference, attribute, static_cast<uint32_t>(alignment_of(type, stride)));
    };
    aligned(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, g.in, g.ldb);
    aligned(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, g.in, g.lda);
    aligned(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, g.out, g.ldc);
    aligned(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, g.out, g.ldc);
}

namespace {

class CudaBlas : public Blas {
  public:
    CudaBlas(const Exec& exec, bool fused) : exec_(exec), fused_(fused) {}

    std::size_t scratch_bytes(const Gemm& gemm) override { return blas_scratch_bytes(gemm); }

    void run(const Gemm& g, const void* a, const void* b, void* c, const EpilogueData& data,
             void* scratch) override {
        check_alignment(g, "A", g.in, g.lda, a);
        check_alignment(g, "B", g.in, g.ldb, b);
        check_alignment(g, "C", g.out, g.ldc, c);
        Plan& plan = plan_of(g);
        auto* memory = reinterpret_cast<std::byte*>(aligned(reinterpret_cast<std::size_t>(scratch)));
        if (plan.fused && g.epilogue == Epilogue::bias_relu) {
            const void* bias = casts_bias(g) ? data.rounded_bias : data.bias;
            if (bias == nullptr) {
                auto* const rounded = reinterpret_cast<bfloat16*>(memory);
                memory += aligned(static_cast<std::size_t>(g.n) * 2);
                cast(exec_, g.n, static_cast<const float*>(data.bias), rounded);
                bias = rounded;
            }
            check_alignment(g, "the bias", g.out, static_cast<index_t>(kAlignment), bias);
            set(plan.description.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
        }
        const float one = 1, beta = g.accumulate ? 1 : 0;
        const double one64 = 1, beta64 = beta;
        const bool wide = g.in == Scalar::f64;
        // Host pointers (default pointer mode) are read before the call returns, also under capture.
        const Description& d = plan.description;
        GLOW_CUDA(cublasLtMatmul(handle_, d.product, wide ? static_cast<const void*>(&one64) : &one, b,
                                 d.first, a, d.second, wide ? static_cast<const void*>(&beta64) : &beta, c,
                                 d.result, c, d.result, &plan.algorithms[plan.chosen], memory, kBlasWorkspace,
                                 stream_of(exec_)));
        if (!plan.fused) run_epilogue(exec_, g, data, c);
    }

    int algorithms(const Gemm& gemm) override { return static_cast<int>(plan_of(gemm).algorithms.size()); }
    void choose(const Gemm& gemm, int algorithm) override {
        Plan& plan = plan_of(gemm);
        const auto wanted = static_cast<std::size_t>(algorithm);
        if (wanted < plan.algorithms.size()) plan.chosen = wanted;
    }

    bool has_bf16() const override {
        return true;  // guaranteed by cuda::problem()
    }
    bool has_tf32() const override { return true; }

  private:
    static constexpr int kAlgorithms = 16;  // asked for
    struct Plan {
        Description description;
        bool fused = false;
        std::vector<cublasLtMatmulAlgo_t> algorithms{};  // the library's, at least one
        std::size_t chosen = 0;
    };

    // The algorithm assumes that operands start at rows of arena blocks.
    static void check_alignment(const Gemm& g, const char* operand, Scalar type, index_t stride,
                                const void* pointer) {
        if (reinterpret_cast<std::size_t>(pointer) % alignment_of(type, stride) != 0)
            throw_error("matrix product " + text_of(g) + ": " + operand +
                        " does not start at a row of an arena block");
    }

    Plan& plan_of(const Gemm& gemm) {
        if (!handle_) GLOW_CUDA(cublasLtCreate(handle_.out()));
        const auto found = plans_.find(gemm);
        if (found != plans_.end()) return found->second;
        for (const bool fused : {true, false}) {
            if (fused && (!fused_ || gemm.epilogue == Epilogue::none)) continue;
            Plan plan{Description(gemm, fused), fused};
            if (find_algorithms(plan)) return plans_.emplace(gemm, std::move(plan)).first->second;
        }
        throw Error("cuBLASLt has no algorithm for the matrix product " + text_of(gemm));
    }

    // Returns false if the library has none.
    bool find_algorithms(Plan& plan) {
        std::array<cublasLtMatmulHeuristicResult_t, kAlgorithms> results{};
        int count = 0;
        const Description& d = plan.description;
        const cublasStatus_t status =
            cublasLtMatmulAlgoGetHeuristic(handle_, d.product, d.first, d.second, d.result, d.result,
                                           d.preference, kAlgorithms, results.data(), &count);
        if (status == CUBLAS_STATUS_NOT_SUPPORTED) return false;
        GLOW_CUDA(status);
        for (const auto& result : std::span(results).first(static_cast<std::size_t>(count)))
            if (result.state == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= kBlasWorkspace)
                plan.algorithms.push_back(result.algo);
        return !plan.algorithms.empty();
    }

    Exec exec_;
    bool fused_;
    LtHandle handle_;
    std::map<Gemm, Plan> plans_;
};

}  // namespace

std::unique_ptr<Blas> make_blas(const Exec& exec, bool fused) {
    return std::make_unique<CudaBlas>(exec, fused);
}

}  // namespace glow::cuda

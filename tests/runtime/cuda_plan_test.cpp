// GPU-independent parts of CUDA products and solver: descriptors, alignment, scratch, rules.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "kernels/cuda_error.h"
#include "kernels/error.h"
#include "runtime/context.h"
#include "runtime/cuda.h"
#include "runtime/cuda_blas.h"
#include "runtime/cuda_solver.h"
#include "runtime/device.h"
#include "tests/expect_throw.h"
#include "tests/support.h"

namespace glow::cuda {
namespace {

template <class T>
T attribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t name) {
    T value{};
    std::size_t written = 0;
    EXPECT_EQ(cublasLtMatrixLayoutGetAttribute(layout, name, &value, sizeof value, &written),
              CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(written, sizeof value);
    return value;
}
template <class T>
T attribute(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t name) {
    T value{};
    std::size_t written = 0;
    EXPECT_EQ(cublasLtMatmulDescGetAttribute(description, name, &value, sizeof value, &written),
              CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(written, sizeof value);
    return value;
}
template <class T>
T attribute(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t name) {
    T value{};
    std::size_t written = 0;
    EXPECT_EQ(cublasLtMatmulPreferenceGetAttribute(preference, name, &value, sizeof value, &written),
              CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(written, sizeof value);
    return value;
}

struct Matrix {
    explicit Matrix(cublasLtMatrixLayout_t layout)
        : rows(static_cast<index_t>(attribute<uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_ROWS))),
          columns(static_cast<index_t>(attribute<uint64_t>(layout, CUBLASLT_MATRIX_LAYOUT_COLS))),
          stride(attribute<int64_t>(layout, CUBLASLT_MATRIX_LAYOUT_LD)),
          type(attribute<uint32_t>(layout, CUBLASLT_MATRIX_LAYOUT_TYPE)) {
        EXPECT_EQ(attribute<int32_t>(layout, CUBLASLT_MATRIX_LAYOUT_ORDER), CUBLASLT_ORDER_COL);
        EXPECT_GE(stride, rows);
    }
    index_t rows, columns, stride;
    uint32_t type;
};

const index_t kSizes[][3] = {{1, 1, 1}, {2, 3, 5}, {7, 1, 8}, {1, 9, 4}, {12, 13, 6}};

// Evaluates the product as cuBLASLt defines it, D = op(A) op(B) on column-major matrices, from the
// descriptors, with B's memory first as in run(). The result must be the requested row-major product.
TEST(CudaDescription, DescribesRowMajorProduct) {
    test::Random random(1);
    for (const auto& [m, n, k] : kSizes)
        for (const bool ta : {false, true})
            for (const bool tb : {false, true}) {
                const Gemm g{.m = m,
                             .n = n,
                             .k = k,
                             .transpose_a = ta,
                             .transpose_b = tb,
                             .lda = (ta ? m : k) + 2,
                             .ldb = (tb ? k : n) + 1,
                             .ldc = n + 3};
                const Description d(g, true);
                const Matrix first(d.first), second(d.second), result(d.result);
                const auto op = [&](cublasLtMatmulDescAttributes_t name) {
                    return attribute<int32_t>(d.product, name) == CUBLAS_OP_T;
                };
                const bool t1 = op(CUBLASLT_MATMUL_DESC_TRANSA), t2 = op(CUBLASLT_MATMUL_DESC_TRANSB);
                const index_t depth = t1 ? first.rows : first.columns;
                ASSERT_EQ(t1 ? first.columns : first.rows, result.rows);
                ASSERT_EQ(t2 ? second.rows : second.columns, result.columns);
                ASSERT_EQ(t2 ? second.columns : second.rows, depth);
                const auto a = random.normals((ta ? k : m) * g.lda), b = random.normals((tb ? n : k) * g.ldb);
                std::vector<double> c(m * g.ldc, 0.0);
                ASSERT_LE(first.columns * first.stride, static_cast<index_t>(b.size()));
                ASSERT_LE(second.columns * second.stride, static_cast<index_t>(a.size()));
                for (index_t i = 0; i < result.rows; ++i)
                    for (index_t j = 0; j < result.columns; ++j)
                        for (index_t l = 0; l < depth; ++l)
                            c[j * result.stride + i] +=
                                (t1 ? b[i * first.stride + l] : b[l * first.stride + i]) *
                                (t2 ? a[l * second.stride + j] : a[j * second.stride + l]);
                for (index_t i = 0; i < m; ++i)
                    for (index_t j = 0; j < n; ++j) {
                        double exact = 0;
                        for (index_t l = 0; l < k; ++l)
                            exact +=
                                a[ta ? l * g.lda + i : i * g.lda + l] * b[tb ? j * g.ldb + l : l * g.ldb + j];
                        ASSERT_NEAR(c[i * g.ldc + j], exact, 1e-13);
                    }
            }
}

TEST(CudaDescription, HasRequestedTypes) {
    const auto check = [](Scalar in, Scalar out, cudaDataType of_in, cudaDataType of_out,
                          cublasComputeType_t compute, cudaDataType scale) {
        const Description d({.m = 8, .n = 16, .k = 8, .lda = 8, .ldb = 16, .ldc = 16, .in = in, .out = out},
                            true);
        EXPECT_EQ(Matrix(d.first).type, static_cast<uint32_t>(of_in));
        EXPECT_EQ(Matrix(d.second).type, static_cast<uint32_t>(of_in));
        EXPECT_EQ(Matrix(d.result).type, static_cast<uint32_t>(of_out));
        EXPECT_EQ(attribute<int32_t>(d.product, CUBLASLT_MATMUL_DESC_COMPUTE_TYPE), compute);
        EXPECT_EQ(attribute<int32_t>(d.product, CUBLASLT_MATMUL_DESC_SCALE_TYPE), scale);
        EXPECT_EQ(attribute<int32_t>(d.product, CUBLASLT_MATMUL_DESC_POINTER_MODE),
                  CUBLASLT_POINTER_MODE_HOST);
    };
    check(Scalar::f32, Scalar::f32, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    check(Scalar::tf32, Scalar::f32, CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUDA_R_32F);
    check(Scalar::bf16, Scalar::bf16, CUDA_R_16BF, CUDA_R_16BF, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    check(Scalar::bf16, Scalar::f32, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    check(Scalar::f64, Scalar::f64, CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F, CUDA_R_64F);
}

TEST(CudaDescription, HasEpilogueOnlyIfFused) {
    const auto epilogue = [](Epilogue wanted, bool fused) {
        const Description d({.m = 8, .n = 8, .k = 8, .lda = 8, .ldb = 8, .ldc = 8, .epilogue = wanted},
                            fused);
        const bool bias = attribute<const void*>(d.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER) != nullptr;
        EXPECT_EQ(bias, fused && wanted == Epilogue::bias_relu);
        return attribute<uint32_t>(d.product, CUBLASLT_MATMUL_DESC_EPILOGUE);
    };
    EXPECT_EQ(epilogue(Epilogue::none, true), CUBLASLT_EPILOGUE_DEFAULT);
    EXPECT_EQ(epilogue(Epilogue::relu, true), CUBLASLT_EPILOGUE_RELU);
    EXPECT_EQ(epilogue(Epilogue::bias_relu, true), CUBLASLT_EPILOGUE_RELU_BIAS);
    EXPECT_EQ(epilogue(Epilogue::bias_relu, false), CUBLASLT_EPILOGUE_DEFAULT);
}

// Results must repeat: no algorithm that accumulates in place using counters.
TEST(CudaDescription, AllowsOnlyDeterministicAlgorithms) {
    const Description d(
        {.m = 512, .n = 512, .k = 65536, .transpose_a = true, .lda = 512, .ldb = 512, .ldc = 512}, true);
    EXPECT_EQ(attribute<uint32_t>(d.preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK),
              static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    EXPECT_EQ(attribute<uint64_t>(d.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES), kBlasWorkspace);
}

TEST(CudaDescription, StatesRowAlignment) {
    EXPECT_EQ(alignment_of(Scalar::bf16, 512), 64u);
    EXPECT_EQ(alignment_of(Scalar::bf16, 112), 32u);
    EXPECT_EQ(alignment_of(Scalar::f32, 13), 4u);
    EXPECT_EQ(alignment_of(Scalar::bf16, 7), 2u);
    EXPECT_EQ(alignment_of(Scalar::f64, 1), 8u);
    const Description d({.m = 8, .n = 6, .k = 8, .lda = 8, .ldb = 6, .ldc = 12, .in = Scalar::bf16}, true);
    EXPECT_EQ(attribute<uint32_t>(d.preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES), 4u);   // B
    EXPECT_EQ(attribute<uint32_t>(d.preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES), 16u);  // A
    EXPECT_EQ(attribute<uint32_t>(d.preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES), 16u);
    EXPECT_EQ(attribute<uint32_t>(d.preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES), 16u);
}

TEST(CudaBlas, ScratchHoldsWorkspaceAndBf16Bias) {
    Gemm g{.m = 64, .n = 200, .k = 64, .lda = 64, .ldb = 200, .ldc = 200};
    EXPECT_EQ(blas_scratch_bytes(g), kBlasWorkspace + kScratchAlignment);
    g.epilogue = Epilogue::bias_relu;
    EXPECT_EQ(blas_scratch_bytes(g), kBlasWorkspace + kScratchAlignment);
    g.in = g.out = Scalar::bf16;
    EXPECT_EQ(blas_scratch_bytes(g), kBlasWorkspace + kScratchAlignment + 512);
    EXPECT_EQ(make_blas({Device::cuda, 1, nullptr})->scratch_bytes(g), blas_scratch_bytes(g));
}

TEST(CudaSolver, ScratchPartsAreAlignedAndDisjoint) {
    for (const index_t n : {12, 48, 128, 129, 384})
        for (const index_t count : {1, 3, 32}) {
            const SolverScratch s = solver_scratch(count, n, 1000);
            const auto matrices = static_cast<std::size_t>(count), order = static_cast<std::size_t>(n);
            const std::size_t begins[] = {s.lu,        s.partial,        s.lu_rows, s.inverse_rows, s.pivots,
                                          s.lu_failed, s.inverse_failed, s.work,    s.total};
            for (std::size_t i = 0; i + 1 < std::size(begins); ++i) {
                EXPECT_LT(begins[i], begins[i + 1]);
                EXPECT_EQ(begins[i] % kAlignment, 0u);
            }
            EXPECT_GE(s.partial - s.lu, matrices * order * order * 8);
            EXPECT_GE(s.lu_failed - s.pivots, is_batched(n) ? matrices * order * 4 : order * 8);
            EXPECT_EQ(s.total - s.work, 1000u);
        }
    EXPECT_TRUE(is_batched(96));
    EXPECT_FALSE(is_batched(192));
}

TEST(CudaBackend, PlansWithoutGpu) {
    const Backend backend = Backend::for_plans(Device::cuda);
    EXPECT_EQ(backend.exec().device, Device::cuda);
    Arena workspace(Device::count_only, Category::workspace, 0);
    const Context context = backend.counting_context(workspace);
    ASSERT_TRUE(context.counting());
    context.gemm({.m = 8, .n = 8, .k = 8, .lda = 8, .ldb = 8, .ldc = 8}, nullptr, nullptr, nullptr);
    EXPECT_GE(workspace.peak(), kBlasWorkspace);
}

TEST(CudaDevice, KnowsWhichCodeAGpuRuns) {
    EXPECT_TRUE(has_code_for(80, "80-real,90"));
    EXPECT_TRUE(has_code_for(86, "80-real,90"));   // machine code of the same generation
    EXPECT_TRUE(has_code_for(120, "80-real,90"));  // intermediate code of 9.0
    EXPECT_FALSE(has_code_for(120, "80-real,90-real"));
    EXPECT_FALSE(has_code_for(80, "90"));
    EXPECT_FALSE(has_code_for(80, "86-real"));
    EXPECT_FALSE(has_code_for(100, "90a"));
    EXPECT_TRUE(has_code_for(90, "90a"));
    EXPECT_FALSE(has_code_for(90, "90a-virtual") && has_code_for(100, "90a-virtual"));
    EXPECT_TRUE(has_code_for(89, "80-virtual"));
    EXPECT_TRUE(has_code_for(75, "native"));
    EXPECT_TRUE(has_code_for(75, "all-major"));
    EXPECT_FALSE(has_code_for(90, ""));
}

TEST(CudaDevice, ScopeWithoutGpuDoesNothing) {
    if (problem().empty()) GTEST_SKIP() << "this machine has a GPU";
    const DeviceScope callers;
    EXPECT_THROW(DeviceScope(0), Error);
}

TEST(CudaErrors, FullGpuIsBadInput) {
    for (const auto& fail : std::initializer_list<std::function<void()>>{
             [] { check(cudaErrorMemoryAllocation, "cudaSetDevice(0)", "x.cpp", 1); },
             [] { check(CUBLAS_STATUS_ALLOC_FAILED, "cublasCreate", "x.cpp", 1); },
             [] { check(CUSOLVER_STATUS_ALLOC_FAILED, "cusolverDnCreate", "x.cpp", 1); },
             [] { throw_launch_error("fill", cudaErrorMemoryAllocation, "out of memory", "x.cu", 1); }})
        expect_throw<InputError>(fail, {"the GPU has no memory left", "nvidia-smi"});
    expect_throw<InputError>([] { check(cudaErrorDevicesUnavailable, "cudaSetDevice(0)", "x.cpp", 1); },
                             {"in use by another program", "cudaSetDevice(0)"});
}

TEST(CudaErrors, AdviseOnFaultyGpusAndKernels) {
    for (const cudaError_t code : {cudaErrorECCUncorrectable, cudaErrorNvlinkUncorrectable})
        expect_throw<Error>([&] { check(code, "cudaStreamSynchronize(stream)", "x.cpp", 1); },
                            {"x.cpp:1: cudaStreamSynchronize(stream) failed", "checkpoint"});
    for (const cudaError_t code :
         {cudaErrorIllegalAddress, cudaErrorMisalignedAddress, cudaErrorLaunchFailure})
        expect_throw<Error>([&] { throw_launch_error("fill", code, "its name", "x.cu", 7); },
                            {"x.cu:7: fill failed: its name", "CUDA_LAUNCH_BLOCKING=1"});
    expect_throw<Error>([] { check(cudaErrorInvalidValue, "cudaFree(x)", "x.cpp", 1); }, {"(1)"});
}

TEST(CudaErrors, NameCallFileAndLine) {
    try {
        GLOW_CUDA(cublasLtMatrixLayoutCreate(nullptr, CUDA_R_32F, 1, 1, 1));
        FAIL() << "nothing was thrown";
    } catch (const Error& error) {
        const std::string text = error.what();
        EXPECT_NE(text.find("cublasLtMatrixLayoutCreate"), std::string::npos) << text;
        EXPECT_NE(text.find("cuda_plan_test.cpp"), std::string::npos) << text;
        EXPECT_NE(text.find("unsupported value"), std::string::npos) << text;
    }
}

}  // namespace
}  // namespace glow::cuda

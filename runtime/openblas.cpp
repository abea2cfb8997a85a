// Epilogues run as a separate pass after the cblas product.
#include "runtime/openblas.h"

#include <cblas.h>

#include <algorithm>

#include "kernels/error.h"
#include "runtime/epilogue.h"

namespace glow {
namespace {

template <class T>
void epilogue(const Gemm& g, T* c, const T* bias, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (index_t row = 0; row < g.m; ++row)
        for (index_t j = 0; j < g.n; ++j) {
            const T value = c[row * g.ldc + j] + (g.epilogue == Epilogue::bias_relu ? bias[j] : T{0});
            c[row * g.ldc + j] = std::max(value, T{0});
        }
}

class OpenBlas : public Blas {
  public:
    explicit OpenBlas(int threads) : threads_(threads) {}

    std::size_t scratch_bytes(const Gemm&) override { return 0; }

    void run(const Gemm& g, const void* a, const void* b, void* c, const EpilogueData& data,
             void* scratch) override {
        if (has_mask(g.epilogue)) {
            run(g.with(Epilogue::none), a, b, c, {}, scratch);
            return run_epilogue({Device::cpu, threads_}, g, data, c);
        }
        const auto ta = g.transpose_a ? CblasTrans : CblasNoTrans,
                   tb = g.transpose_b ? CblasTrans : CblasNoTrans;
        const int m = static_cast<int>(g.m), n = static_cast<int>(g.n), k = static_cast<int>(g.k);
        const int lda = static_cast<int>(g.lda), ldb = static_cast<int>(g.ldb), ldc = static_cast<int>(g.ldc);
        if (m != g.m || n != g.n || k != g.k)
            throw Error("a matrix product is too large for this BLAS (2^31 rows)");
        const ScopedBlasThreads scope(threads_);
        if (g.in == Scalar::f64 && g.out == Scalar::f64) {
            auto* const out = static_cast<double*>(c);
            cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, 1.0, static_cast<const double*>(a), lda,
                        static_cast<const double*>(b), ldb, g.accumulate ? 1.0 : 0.0, out, ldc);
            if (g.epilogue != Epilogue::none)
                epilogue(g, out, static_cast<const double*>(data.bias), threads_);
        } else if (g.in == Scalar::f32 && g.out == Scalar::f32) {
            auto* const out = static_cast<float*>(c);
            cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1.0f, static_cast<const float*>(a), lda,
                        static_cast<const float*>(b), ldb, g.accumulate ? 1.0f : 0.0f, out, ldc);
            if (g.epilogue != Epilogue::none)
                epilogue(g, out, static_cast<const float*>(data.bias), threads_);
        } else {
            throw InputError(
                "bf16 networks need oneDNN, which this build does not have; use --precision fp32");
        }
    }

    bool has_bf16() const override { return false; }

  private:
    int threads_;
};

int blas_threads([[maybe_unused]] int threads) {
#if defined(GLOW_OPENBLAS_THREADS)
    return available_team(GLOW_OPENBLAS_THREADS);
#else
    return available_team(threads);
#endif
}

}  // namespace

ScopedBlasThreads::ScopedBlasThreads(int threads) : team_(blas_threads(threads)) {
#if defined(GLOW_BLAS_IS_OPENBLAS)
    // A process-wide setting that other backends or the calling program may have changed.
    if (openblas_get_num_threads() != blas_threads(threads)) openblas_set_num_threads(blas_threads(threads));
#endif
}

std::unique_ptr<Blas> make_openblas(int threads) {
    return std::make_unique<OpenBlas>(threads);
}

}  // namespace glow

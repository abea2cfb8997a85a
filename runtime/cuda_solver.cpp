// Batched LU by cuBLAS for small matrices, one by one by cuSOLVER for large ones. A row-major W is the
// column-major W^T, whose inverse (W^-1)^T is W^-1 in row-major, so nothing needs transposing.
#include "runtime/cuda_solver.h"

#include <vector>

#include "kernels/elementwise.h"
#include "kernels/error.h"
#include "kernels/reduce.h"
#include "kernels/small_matrix.h"
#include "runtime/cuda.h"
#include "runtime/cuda_call.h"
#include "runtime/device.h"
#include "runtime/forked_stream.h"
#include "runtime/solver.h"

namespace glow::cuda {
namespace {

class CudaSolver : public Solver {
  public:
    explicit CudaSolver(const Exec& exec) : forked_(exec), host_(make_cpu_solver()) {}

    void invert(index_t count, index_t n, const double* W, double* inverse, double* log_abs_det,
                double* condition) override {
        forked_.fork();
        open();
        const Exec& exec = forked_.exec();
        Scratch& s = scratch_of(count, n);
        copy(exec, count * n * n, W, s.lu);
        if (is_batched(n))
            invert_together(count, n, s, inverse);
        else
            for (index_t k = 0; k < count; ++k) invert_one(n, k, s, inverse + k * n * n);
        log_abs_diagonal(exec, count, n, s.lu, log_abs_det);
        condition_numbers(exec, count, n, {W, inverse, s.lu_failed, s.inverse_failed}, condition, s.partial);
    }

    void finish() override { forked_.join(); }

    // Initial values are computed on the host, so that they are equal on every device.
    void orthogonalize(index_t n, double* matrix) override { host_->orthogonalize(n, matrix); }
    void factorize(index_t n, double* matrix, index_t* permutation) override {
        host_->factorize(n, matrix, permutation);
    }

  private:
    // Sized for the largest call so far: a model's first derive() allocates it, later steps do not.
    struct Scratch {
        index_t count = 0, n = 0;
        std::shared_ptr<void> memory;
        std::vector<std::byte> host;
        double *lu = nullptr, *partial = nullptr;
        double **lu_rows = nullptr, **inverse_rows = nullptr;
        int *pivots = nullptr, *lu_failed = nullptr, *inverse_failed = nullptr;
        std::int64_t* wide_pivots = nullptr;
        void* work = nullptr;
        std::size_t work_bytes = 0;
    };

    void open() {
        if (blas_) return;
        const auto stream = stream_of(forked_.exec());
        GLOW_CUDA(cublasCreate(blas_.out()));
        GLOW_CUDA(cublasSetStream(blas_, stream));
        GLOW_CUDA(cusolverDnCreate(solver_.out()));
        GLOW_CUDA(cusolverDnSetStream(solver_, stream));
        GLOW_CUDA(cusolverDnCreateParams(options_.out()));
        // Deterministic results (the default, stated explicitly).
        GLOW_CUDA(cusolverDnSetDeterministicMode(solver_, CUSOLVER_DETERMINISTIC_RESULTS));
    }

    Scratch& scratch_of(index_t count, index_t n) {
        for (Scratch& scratch : scratch_)
            if (scratch.count == count && scratch.n == n) return scratch;
        Scratch s;
        s.count = count;
        s.n = n;
        if (!is_batched(n)) {
            std::size_t host_bytes = 0;
            GLOW_CUDA(cusolverDnXgetrf_bufferSize(solver_, options_, n, n, CUDA_R_64F, nullptr, n, CUDA_R_64F,
                                                  &s.work_bytes, &host_bytes));
            s.host.resize(host_bytes);
        }
        const SolverScratch bytes = solver_scratch(count, n, s.work_bytes);
        s.memory = device_memory(bytes.total);
        auto* const base = static_cast<std::byte*>(s.memory.get());
        s.lu = reinterpret_cast<double*>(base + bytes.lu);
        s.partial = reinterpret_cast<double*>(base + bytes.partial);
        s.lu_rows = reinterpret_cast<double**>(base + bytes.lu_rows);
        s.inverse_rows = reinterpret_cast<double**>(base + bytes.inverse_rows);
        s.pivots = reinterpret_cast<int*>(base + bytes.pivots);
        s.lu_failed = reinterpret_cast<int*>(base + bytes.lu_failed);
        s.inverse_failed = reinterpret_cast<int*>(base + bytes.inverse_failed);
        s.wide_pivots = reinterpret_cast<std::int64_t*>(base + bytes.pivots);
        s.work = base + bytes.work;
        scratch_.push_back(std::move(s));
        return scratch_.back();
    }

    void invert_together(index_t count, index_t n, Scratch& s, double* inverse) {
        const int order = static_cast<int>(n), matrices = static_cast<int>(count);
        row_pointers(forked_.exec(), count, n * n, s.lu, s.lu_rows);
        row_pointers(forked_.exec(), count, n * n, inverse, s.inverse_rows);
        GLOW_CUDA(cublasDgetrfBatched(blas_, order, s.lu_rows, order, s.pivots, s.lu_failed, matrices));
        GLOW_CUDA(cublasDgetriBatched(blas_, order, s.lu_rows, order, s.pivots, s.inverse_rows, order,
                                      s.inverse_failed, matrices));
    }

    // W^-1 solves W^T X = 1.
    void invert_one(index_t n, index_t k, Scratch& s, double* inverse) {
        double* const lu = s.lu + k * n * n;
        identity(forked_.exec(), n, inverse);
        GLOW_CUDA(cusolverDnXgetrf(solver_, options_, n, n, CUDA_R_64F, lu, n, s.wide_pivots, CUDA_R_64F,
                                   s.work, s.work_bytes, s.host.data(), s.host.size(), s.lu_failed + k));
        GLOW_CUDA(cusolverDnXgetrs(solver_, options_, CUBLAS_OP_N, n, n, CUDA_R_64F, lu, n, s.wide_pivots,
                                   CUDA_R_64F, inverse, n, s.inverse_failed + k));
    }

    ForkedStream forked_;  // outlives the libraries
    std::unique_ptr<Solver> host_;
    BlasHandle blas_;
    SolverHandle solver_;
    SolverOptions options_;
    std::vector<Scratch> scratch_;
};

}  // namespace

bool is_batched(index_t n) {
    return n <= kMaxBatched;
}

SolverScratch solver_scratch(index_t count, index_t n, std::size_t work_bytes) {
    SolverScratch s;
    const auto take = [&](std::size_t bytes) {
        const std::size_t at = s.total;
        s.total += (bytes + kAlignment - 1) / kAlignment * kAlignment;
        return at;
    };
    const auto matrices = static_cast<std::size_t>(count), order = static_cast<std::size_t>(n);
    s.lu = take(matrices * order * order * sizeof(double));
    s.partial = take(static_cast<std::size_t>(group_scratch(count)) * sizeof(double));
    s.lu_rows = take(matrices * sizeof(double*));
    s.inverse_rows = take(matrices * sizeof(double*));
    s.pivots = take(is_batched(n) ? matrices * order * sizeof(int) : order * sizeof(std::int64_t));
    s.lu_failed = take(matrices * sizeof(int));
    s.inverse_failed = take(matrices * sizeof(int));
    s.work = s.total;
    s.total += work_bytes;
    return s;
}

std::unique_ptr<Solver> make_solver(const Exec& exec) {
    return std::make_unique<CudaSolver>(exec);
}

}  // namespace glow::cuda

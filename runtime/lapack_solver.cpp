#include <lapacke.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <numeric>
#include <vector>

#include "kernels/error.h"
#include "kernels/small_matrix.h"
#include "runtime/openblas.h"
#include "runtime/solver.h"

namespace glow {
namespace {

double norm1(index_t n, const double* W) {
    double largest = 0;
    for (index_t c = 0; c < n; ++c) largest = std::max(largest, absolute_column_sum(n, W, c));
    return largest;
}

// Whether a call succeeded. LAPACKE copies matrices, and too little memory for that does not make them singular.
bool succeeded(lapack_int status) {
    if (status == LAPACK_WORK_MEMORY_ERROR || status == LAPACK_TRANSPOSE_MEMORY_ERROR) throw std::bad_alloc();
    return status == 0;
}

class LapackSolver : public Solver {
  public:
    void invert(index_t count, index_t n, const double* W, double* inverse, double* log_abs_det,
                double* condition) override {
        const ScopedBlasThreads one_thread;
        for (index_t k = 0; k < count; ++k)
            condition[k] = invert_one(n, W + k * n * n, inverse + k * n * n, log_abs_det[k]);
    }

    void orthogonalize(index_t n, double* matrix) override {
        const ScopedBlasThreads one_thread;
        const auto order = static_cast<lapack_int>(n);
        std::vector<double> tau(n), sign(n);
        if (!succeeded(LAPACKE_dgeqrf(LAPACK_ROW_MAJOR, order, order, matrix, order, tau.data())))
            throw Error("LAPACK dgeqrf failed");
        for (index_t i = 0; i < n; ++i) sign[i] = matrix[i * n + i] < 0 ? -1.0 : 1.0;
        if (!succeeded(LAPACKE_dorgqr(LAPACK_ROW_MAJOR, order, order, order, matrix, order, tau.data())))
            throw Error("LAPACK dorgqr failed");
        for (index_t r = 0; r < n; ++r)
            for (index_t c = 0; c < n; ++c) matrix[r * n + c] *= sign[c];
    }

    void factorize(index_t n, double* matrix, index_t* permutation) override {
        const ScopedBlasThreads one_thread;
        const auto order = static_cast<lapack_int>(n);
        pivots_.resize(n);
        const lapack_int status =
            LAPACKE_dgetrf(LAPACK_ROW_MAJOR, order, order, matrix, order, pivots_.data());
        if (!succeeded(status) && status < 0) throw Error("LAPACK dgetrf failed");
        std::vector<index_t> row_of(n);  // row i of LU is row row_of[i] of W
        std::iota(row_of.begin(), row_of.end(), index_t{0});
        for (index_t i = 0; i < n; ++i) std::swap(row_of[i], row_of[pivots_[i] - 1]);
        for (index_t i = 0; i < n; ++i) permutation[row_of[i]] = i;
    }

  private:
    // Returns the condition number.
    double invert_one(index_t n, const double* W, double* inverse, double& log_abs_det) {
        if (!std::all_of(W, W + n * n, [](double w) { return std::isfinite(w); })) return kSingular;
        const auto order = static_cast<lapack_int>(n);
        std::copy(W, W + n * n, inverse);
        pivots_.resize(n);
        if (!succeeded(LAPACKE_dgetrf(LAPACK_ROW_MAJOR, order, order, inverse, order, pivots_.data())))
            return kSingular;
        log_abs_det = 0;
        for (index_t i = 0; i < n; ++i) log_abs_det += std::log(std::abs(inverse[i * n + i]));
        if (!succeeded(LAPACKE_dgetri(LAPACK_ROW_MAJOR, order, inverse, order, pivots_.data())))
            return kSingular;
        const double condition = norm1(n, W) * norm1(n, inverse);
        return condition < kSingularCondition ? condition : kSingular;
    }

    static constexpr double kSingular = std::numeric_limits<double>::infinity();
    std::vector<lapack_int> pivots_;
};

}  // namespace

std::unique_ptr<Solver> make_cpu_solver() {
    return std::make_unique<LapackSolver>();
}

}  // namespace glow

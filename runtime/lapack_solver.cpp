// Solver on LAPACK.
#include <lapacke.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/error.h"
#include "runtime/solver.h"

namespace glow {
namespace {

double norm1(index_t n, const double* W) {
    double largest = 0;
    for (index_t c = 0; c < n; ++c) {
        double sum = 0;
        for (index_t r = 0; r < n; ++r) sum += std::abs(W[r * n + c]);
        largest = std::max(largest, sum);
    }
    return largest;
}

class LapackSolver : public Solver {
  public:
    Inverse invert(index_t n, const double* W, double* inverse) override {
        if (!std::all_of(W, W + n * n, [](double w) { return std::isfinite(w); })) return {.singular = true};
        const auto order = static_cast<lapack_int>(n);
        std::copy(W, W + n * n, inverse);
        pivots_.resize(n);
        if (LAPACKE_dgetrf(LAPACK_ROW_MAJOR, order, order, inverse, order, pivots_.data()) != 0)
            return {.singular = true};
        Inverse result;
        for (index_t i = 0; i < n; ++i) result.log_abs_det += std::log(std::abs(inverse[i * n + i]));
        if (LAPACKE_dgetri(LAPACK_ROW_MAJOR, order, inverse, order, pivots_.data()) != 0)
            return {.singular = true};
        result.condition = norm1(n, W) * norm1(n, inverse);
        result.singular = !(result.condition < 1e14);
        return result;
    }

    void orthogonalise(index_t n, double* matrix) override {
        const auto order = static_cast<lapack_int>(n);
        std::vector<double> tau(n), sign(n);
        if (LAPACKE_dgeqrf(LAPACK_ROW_MAJOR, order, order, matrix, order, tau.data()) != 0)
            throw Error("LAPACK dgeqrf failed");
        for (index_t i = 0; i < n; ++i) sign[i] = matrix[i * n + i] < 0 ? -1.0 : 1.0;
        if (LAPACKE_dorgqr(LAPACK_ROW_MAJOR, order, order, order, matrix, order, tau.data()) != 0)
            throw Error("LAPACK dorgqr failed");
        for (index_t r = 0; r < n; ++r)
            for (index_t c = 0; c < n; ++c) matrix[r * n + c] *= sign[c];
    }

  private:
    std::vector<lapack_int> pivots_;
};

}  // namespace

std::unique_ptr<Solver> make_cpu_solver() {
    return std::make_unique<LapackSolver>();
}

}  // namespace glow

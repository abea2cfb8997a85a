// Dense linear algebra on the small matrices of the channel mixings: double, row-major.
#pragma once

#include <memory>

#include "kernels/base.h"

namespace glow {

class Solver {
  public:
    virtual ~Solver() = default;
    // For `count` matrices W [count, n, n] (unchanged): inverse [count, n, n], log_abs_det [count] = log|det
    // W| in nats, condition [count] = norm1(W) norm1(W^-1). A condition of inf marks a matrix that is
    // singular, exactly or with a condition above kSingularCondition, or has a non-finite entry; its other
    // results are meaningless.
    // All arrays are in device memory. Asynchronous on a GPU: ordered after earlier work on the stream,
    // concurrent with later work until finish(). Keep W unchanged and do not read the results until then.
    virtual void invert(index_t count, index_t n, const double* W, double* inverse, double* log_abs_det,
                        double* condition) = 0;
    virtual void finish() {}

    // For initial values, in host memory for every device:
    // Replaces a square matrix of independent normal numbers by Q [n, n] of its QR decomposition, with R's
    // diagonal made positive: uniformly distributed over the orthogonal matrices.
    virtual void orthogonalize(index_t n, double* matrix) = 0;
    // W = P L U by elimination with row pivoting. matrix [n, n]: W -> L below the diagonal (its unit diagonal
    // is implied), U on and above it. Row r of W is row permutation[r] of L U.
    virtual void factorize(index_t n, double* matrix, index_t* permutation) = 0;
};

std::unique_ptr<Solver> make_cpu_solver();

}  // namespace glow

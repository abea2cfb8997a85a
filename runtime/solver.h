// Dense linear algebra on the small matrices of the channel mixings, in double, row-major.
#pragma once

#include <memory>

#include "kernels/base.h"

namespace glow {

class Solver {
  public:
    virtual ~Solver() = default;
    // Of `count` matrices W [count, n, n], left alone: inverse [count, n, n], log_abs_det [count] = log|det
    // W| in nats, condition [count] = norm1(W) norm1(W^-1). Condition inf: the matrix is singular, exactly or
    // with a condition number above 1e14 (kSingularCondition), or has an entry that is not finite; its other results mean nothing.
    // All in the memory of the device. On a GPU this runs beside what the place is given next, after what it
    // was given before; W must stay, and the results are there, for what the place is given after finish().
    virtual void invert(index_t count, index_t n, const double* W, double* inverse, double* log_abs_det,
                        double* condition) = 0;
    virtual void finish() {}

    // For initial values, in host memory on every device:
    // Q [n, n] in place of a square matrix of independent normal numbers: the Q of its QR decomposition with
    // R's diagonal made positive, which is distributed uniformly over the orthogonal matrices.
    virtual void orthogonalise(index_t n, double* matrix) = 0;
    // W = P L U by elimination with row pivoting. matrix [n, n]: W -> L below the diagonal (its ones left
    // out), U on and above it; row r of W is row permutation[r] of L U.
    virtual void factorise(index_t n, double* matrix, index_t* permutation) = 0;
};

std::unique_ptr<Solver> make_cpu_solver(int threads = 1);

}  // namespace glow
